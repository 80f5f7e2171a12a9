//! All that workflows and the API know of activities and workflows: names, ids,
//! queues, search attributes, signatures, and the types that stand in Temporal
//! histories.
//!
//! The payload types are an on-disk format: they change additively, with
//! `#[serde(default)]`, and recorded histories are replayed in the tests. They
//! carry our ids, counts and codes; never a cursor, a name or a resource (I9).

pub mod export;
pub mod maintain;
pub mod probe;
pub mod pull;

pub use export::{
    ChunkReceipt, ClaimExport, ClaimedExport, CloseExport, DeliverChunk, ExportInput, ExportReport,
    ExportResume, ExportSteps, PlanExport, PlanReceipt, PublishExport, PublishReceipt,
};
pub use maintain::{
    ForgetDetails, ForgetReceipt, LookThroughDestinations, LookThroughRecords, MaintainInput,
    MaintainReport, MaintainSteps, MergeLogs, MergeReceipt, SweepReceipt,
};
pub use probe::{ProbeInput, ProbeReceipt, ProbeSteps};
pub use pull::{
    ATTACHMENTS_STEP, AttachmentReceipt, BeginPull, BegunPull, ClosePull, EVERYTHING_STEP,
    EXPORT_STEP, HeldReceipt, PlanPull, PullInput, PullPlan, PullReport, PullResume, PullStep,
    PullStepReceipt, PullSteps, SettlePull, SettleReceipt, StepTitle, TypeProgress,
};
use temporalio_common::{
    HasWorkflowDefinition, WorkflowDefinition, search_attributes::SearchAttributeKey,
};

/// The task queue of pulls.
pub const PULL_QUEUE: &str = "pull";
/// The task queue of exports.
pub const EXPORT_QUEUE: &str = "export";
/// The task queue of the upkeep.
pub const MAINTAIN_QUEUE: &str = "maintain";
/// The task queue of probes: somebody waits for them, so they have slots of their own.
pub const PROBE_QUEUE: &str = "probe";

/// The connection a workflow pulls.
pub const CONNECTION: SearchAttributeKey<String> =
    SearchAttributeKey::keyword("ChartliftConnection");
/// The patient whose record it is.
pub const PATIENT: SearchAttributeKey<String> = SearchAttributeKey::keyword("ChartliftPatient");
/// The destination a workflow exports to.
pub const DESTINATION: SearchAttributeKey<String> =
    SearchAttributeKey::keyword("ChartliftDestination");
/// The run at work, or the last one.
pub const RUN: SearchAttributeKey<String> = SearchAttributeKey::keyword("ChartliftRun");
/// How the last run ended.
pub const OUTCOME: SearchAttributeKey<String> = SearchAttributeKey::keyword("ChartliftOutcome");

/// The names of the search attributes, all keywords: a namespace needs them
/// before the first workflow starts.
pub const SEARCH_ATTRIBUTES: &[&str] = &[
    "ChartliftConnection",
    "ChartliftPatient",
    "ChartliftDestination",
    "ChartliftRun",
    "ChartliftOutcome",
];

/// The failure type of a step that was cut off: its caller stops, without a
/// verdict on the run.
pub const LOST: &str = "lost";

/// What Dispatch cancels a workflow with: the run that was asked to end.
const END: &str = "asked to end ";

/// The reason to cancel a workflow with, so that it ends this run and no other: it
/// may have begun another one in that moment.
#[must_use]
pub fn cancel_reason(run_id: &str) -> String {
    format!("{END}{run_id}")
}

/// The run that a workflow was cancelled for; none if somebody else cancelled it,
/// who means whichever runs.
#[must_use]
pub fn run_to_end(reason: &str) -> Option<&str> {
    reason.strip_prefix(END)
}

macro_rules! workflow {
    ($(#[$doc:meta])* $marker:ident, $input:ty => $output:ty, $prefix:literal, $subject:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $marker;

        impl $marker {
            /// The workflow's type name.
            pub const NAME: &'static str = stringify!($marker);

            /// The workflow's id, which is also the lock: one open run a subject.
            #[must_use]
            pub fn id(subject: $subject) -> String {
                format!(concat!($prefix, "/{}"), subject)
            }
        }

        impl WorkflowDefinition for $marker {
            type Input = $input;
            type Output = $output;
            fn name(&self) -> &str {
                Self::NAME
            }
        }

        impl HasWorkflowDefinition for $marker {
            type Run = Self;
        }
    };
}

workflow!(
    /// Fetches a connection: begin, plan, pull steps, references, attachments, settle.
    PatientPull, PullInput => PullReport, "pull", model::ConnectionId
);
workflow!(
    /// Delivers to a destination: claim, plan, chunks, publish.
    DestinationExport, ExportInput => ExportReport, "export", model::DestinationId
);

workflow!(
    /// Tests or rehearses a destination.
    Probe, ProbeInput => ProbeReceipt, "probe", model::ProbeId
);

/// Keeps record store, destinations and database in shape: merge, sweeps,
/// retention.
#[derive(Debug, Clone, Copy)]
pub struct Maintain;

impl Maintain {
    /// The workflow's type name.
    pub const NAME: &'static str = stringify!(Maintain);
    /// The workflow's id: one pass at a time.
    pub const ID: &'static str = "maintain";
}

impl WorkflowDefinition for Maintain {
    type Input = MaintainInput;
    type Output = MaintainReport;
    fn name(&self) -> &str {
        Self::NAME
    }
}

impl HasWorkflowDefinition for Maintain {
    type Run = Self;
}

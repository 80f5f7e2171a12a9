//! The steps of `PatientPull`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::collections::BTreeMap;

use model::{
    AttachmentCounts, ConnectionId, PatientId, PullCounts, PullId, PullKind, PullMode, RunState,
    TypeNote, TypeOutcome,
};
use serde::{Deserialize, Serialize};
use temporalio_common::ActivityError;
use temporalio_macros::activity_definitions;

/// The step that asks for `$everything`, before the searches.
pub const EVERYTHING_STEP: &str = "pages-everything";
/// The step that fetches a bulk export, before the searches.
pub const EXPORT_STEP: &str = "pages-export";
/// The step that fetches attachments, after the references.
pub const ATTACHMENTS_STEP: &str = "attachments";

/// What a `PatientPull` workflow begins with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullInput {
    /// The connection to fetch.
    pub connection_id: ConnectionId,
    /// Pages after which the workflow continues as new.
    pub pages_per_run: u64,
    /// Steps at work at once.
    pub lanes: u32,
    /// The first run of this chain; set when it continues as new.
    #[serde(default)]
    pub chain: Option<String>,
    /// Where the run before left off.
    #[serde(default)]
    pub resume: Option<PullResume>,
    /// What the chain did so far.
    #[serde(default)]
    pub report: PullReport,
}

/// Where a run left off when it continued as new.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullResume {
    /// The pull at work.
    pub pull_id: PullId,
    /// Steps that are not done.
    pub pending: Vec<StepTitle>,
    /// The live table.
    pub table: Vec<TypeProgress>,
}

/// What a `PatientPull` workflow did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PullReport {
    /// Pulls it carried out.
    pub pulls: u64,
    /// How the last one ended.
    pub outcome: Option<RunState>,
    /// The counts of the last one.
    pub counts: PullCounts,
}

/// A step and what it does, for the activity's summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTitle {
    /// Its name: the step row's.
    pub name: String,
    /// Types it fetches, for people.
    pub title: String,
}

/// A line of the live table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeProgress {
    /// The type.
    pub resource_type: String,
    /// Pages read.
    pub pages: u64,
    /// Resources served.
    pub fetched: u64,
    /// Of them, not asked for.
    #[serde(default)]
    pub ignored: u64,
    /// Of them, without a usable id or resourceType.
    #[serde(default)]
    pub rejected: u64,
    /// How it ended; none while it goes on.
    pub outcome: Option<TypeOutcome>,
    /// Why it did not end well.
    #[serde(default)]
    pub error_code: Option<String>,
    /// A hash of how the type is asked for, whoever the patient is; none where it
    /// was met by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Whether nobody vouches that this is all: what is absent is not missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_lack: bool,
    /// What the source was asked for of the type; none where it was met by reference,
    /// and everything before there were two modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<PullMode>,
    /// What is to be said of it beside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<TypeNote>,
}

/// Input of `pull.begin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginPull {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The first run id of the workflow's chain.
    pub chain: String,
}

/// Output of `pull.begin`: the pull to carry out, if one is queued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BegunPull {
    /// The pull.
    pub pull_id: Option<PullId>,
    /// Whose record.
    pub patient_id: Option<PatientId>,
    /// What the pull does.
    #[serde(default = "fetch")]
    pub kind: PullKind,
}

fn fetch() -> PullKind {
    PullKind::Fetch
}

/// Input of `pull.plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanPull {
    /// The pull.
    pub pull_id: PullId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// Into how many steps the streams are grouped.
    pub step_count: u32,
}

/// Output of `pull.plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullPlan {
    /// The pull steps.
    pub steps: Vec<StepTitle>,
    /// The types asked for.
    pub types: u64,
    /// The types that the source has and the grant does not reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_granted: Vec<String>,
    /// Not 0 where nothing is planned yet, since all slots of the source are
    /// taken: how long to wait before asking again.
    #[serde(default)]
    pub wait_ms: u64,
    /// Whether attachments are fetched, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attachments: bool,
}

/// Input of `pull.pages`, `pull.references` and `pull.attachments`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullStep {
    /// The pull.
    pub pull_id: PullId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// The step's name.
    pub step: String,
    /// Pages after which the step returns, to be called again.
    pub pages_max: u64,
}

/// Output of `pull.pages` and `pull.references`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullStepReceipt {
    /// The types of the step.
    pub types: Vec<TypeProgress>,
    /// Pages read by this call.
    pub pages: u64,
    /// Whether the step has to be called again.
    pub more: bool,
    /// How long to wait before that: the source said so, or all its slots are
    /// taken.
    #[serde(default)]
    pub wait_ms: u64,
    /// Deletions that are held back for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldReceipt>,
}

/// Output of `pull.attachments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentReceipt {
    /// What became of them; so far, where there are more.
    pub counts: AttachmentCounts,
    /// Requests made by this call, redirects and repetitions aside.
    pub requests: u64,
    /// Whether the step has to be called again.
    pub more: bool,
    /// How long to wait before that.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Deletions that the references step found and would not settle by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReceipt {
    /// The tombstones, in the record store.
    pub object_key: String,
    /// How many of each type.
    pub types: BTreeMap<String, u64>,
}

/// Input of `pull.settle`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettlePull {
    /// The pull.
    pub pull_id: PullId,
    /// Its connection.
    pub connection_id: ConnectionId,
}

/// Output of `pull.settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleReceipt {
    /// How the pull ended.
    pub state: RunState,
    /// What happened to the resources.
    pub counts: PullCounts,
    /// The batch written, if anything had changed.
    pub batch_seq: Option<u64>,
}

/// Input of `pull.close`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosePull {
    /// The pull.
    pub pull_id: PullId,
    /// How it ends.
    pub state: RunState,
    /// Why.
    pub code: String,
}

/// The signatures of the pull's activities.
#[derive(Debug)]
pub struct PullSteps;

pub use self::pull_steps::*;

#[activity_definitions]
impl PullSteps {
    /// Takes the queued pull of a connection.
    #[activity(name = "pull.begin")]
    pub fn begin(_: BeginPull) -> Result<BegunPull, ActivityError> {
        unimplemented!()
    }

    /// Reads the source's capabilities and plans the streams.
    #[activity(name = "pull.plan")]
    pub fn plan(_: PlanPull) -> Result<PullPlan, ActivityError> {
        unimplemented!()
    }

    /// Fetches the pages of a few types into staging.
    #[activity(name = "pull.pages")]
    pub fn pages(_: PullStep) -> Result<PullStepReceipt, ActivityError> {
        unimplemented!()
    }

    /// Reads what the fetched resources refer to, by id.
    #[activity(name = "pull.references")]
    pub fn references(_: PullStep) -> Result<PullStepReceipt, ActivityError> {
        unimplemented!()
    }

    /// Fetches the documents that the fetched resources name by a URL.
    #[activity(name = "pull.attachments")]
    pub fn attachments(_: PullStep) -> Result<AttachmentReceipt, ActivityError> {
        unimplemented!()
    }

    /// Compares what was fetched with the record and writes what changed.
    #[activity(name = "pull.settle")]
    pub fn settle(_: SettlePull) -> Result<SettleReceipt, ActivityError> {
        unimplemented!()
    }

    /// Ends a pull that will not settle.
    #[activity(name = "pull.close")]
    pub fn close(_: ClosePull) -> Result<(), ActivityError> {
        unimplemented!()
    }
}

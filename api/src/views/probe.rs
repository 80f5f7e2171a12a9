//! Tests and rehearsals of destinations.

use db::Probe;
use model::{Check, CheckResult, DestinationId, ProbeId, ProbeKind, RunState, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

use super::text;
use super::words::{
    CheckSchema, DestinationIdSchema, ProbeIdSchema, ProbeKindSchema, RunStateSchema, VerdictSchema,
};

/// A test or a rehearsal of a destination.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Probe`")]
#[schema(as = Probe)]
pub struct ProbeView {
    #[schema(value_type = ProbeIdSchema)]
    pub id: ProbeId,
    #[schema(value_type = DestinationIdSchema)]
    pub destination_id: DestinationId,
    #[schema(value_type = ProbeKindSchema)]
    pub kind: ProbeKind,
    /// `failed` where a check failed, or where it could not be carried out.
    #[schema(value_type = RunStateSchema)]
    pub state: RunState,
    pub error_code: Option<String>,
    /// The checks of a test that has ended.
    pub checks: Vec<CheckView>,
    /// The figures of a rehearsal that has ended.
    pub rehearsal: Option<RehearsalView>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
}

/// One thing that a destination must be able to do.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `model::CheckResult`")]
#[schema(as = Check)]
pub struct CheckView {
    #[schema(value_type = CheckSchema)]
    pub check: Check,
    #[schema(value_type = VerdictSchema)]
    pub verdict: Verdict,
    pub error_code: Option<String>,
    /// The same for people, with what to do.
    pub message: Option<String>,
}

/// What an export would deliver now.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `model::Rehearsal`")]
#[schema(as = Rehearsal)]
pub struct RehearsalView {
    pub patients: u64,
    pub connections: u64,
    /// New and changed resources.
    pub resources: u64,
    pub deletions: u64,
    /// The size of the resources as JSON, before they are encoded and compressed.
    pub size_bytes: u64,
}

impl From<Probe> for ProbeView {
    fn from(probe: Probe) -> Self {
        let figures = probe.report.rehearsal;
        Self {
            id: probe.id,
            destination_id: probe.destination_id,
            kind: probe.kind,
            state: probe.state,
            error_code: probe.error_code,
            checks: probe
                .report
                .checks
                .into_iter()
                .map(CheckView::from)
                .collect(),
            rehearsal: figures.map(|figures| RehearsalView {
                patients: figures.patients,
                connections: figures.connections,
                resources: figures.resources,
                deletions: figures.deletions,
                size_bytes: figures.size_bytes,
            }),
            created_at: text(probe.created_at),
            finished_at: probe.finished_at.map(text),
        }
    }
}

impl From<CheckResult> for CheckView {
    fn from(result: CheckResult) -> Self {
        Self {
            check: result.check,
            verdict: result.verdict,
            error_code: result.error_code,
            message: result.message,
        }
    }
}

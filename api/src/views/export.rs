//! Exports.

use db::{Export, ExportError, ExportProgress};
use model::{ConnectionId, DestinationId, ExportCounts, ExportId, PatientId, RunPhase, RunState};
use serde::Serialize;
use utoipa::ToSchema;

use super::counts;
use super::pull::TriggerView;
use super::text;
use super::words::{
    ConnectionIdSchema, DestinationIdSchema, ExportIdSchema, PatientIdSchema, RunPhaseSchema,
    RunStateSchema,
};

/// An export.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Export`")]
#[schema(as = Export)]
pub struct ExportView {
    #[schema(value_type = ExportIdSchema)]
    pub id: ExportId,
    #[schema(value_type = DestinationIdSchema)]
    pub destination_id: DestinationId,
    #[schema(value_type = RunStateSchema)]
    pub state: RunState,
    #[schema(value_type = RunPhaseSchema)]
    pub phase: RunPhase,
    #[schema(value_type = Option<ExportIdSchema>)]
    pub retry_of: Option<ExportId>,
    /// Whether everything was to be sent again.
    pub full: bool,
    #[schema(schema_with = counts::export)]
    pub counts: ExportCounts,
    pub patients: u64,
    pub part_count: u64,
    pub size_bytes: u64,
    pub publication_count: u64,
    pub error_code: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// Why it was asked for; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<TriggerView>>,
    /// The patients it is for; left out of lists, and where it is for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<PatientIdSchema>>)]
    pub patient_ids: Option<Vec<PatientId>>,
    /// How far it is, while it is running; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ExportProgressView>,
}

/// How far an export is in the plan at work.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ExportProgress)]
pub struct ExportProgressView {
    /// Connections in the plan.
    pub connections: u64,
    /// Those whose files are written; a publication makes them visible.
    pub connections_written: u64,
    /// Those that failed.
    pub connections_failed: u64,
}

/// A connection that an export did not deliver.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::ExportError`")]
#[schema(as = ExportError)]
pub struct ExportErrorView {
    #[schema(value_type = ConnectionIdSchema)]
    pub connection_id: ConnectionId,
    #[schema(value_type = PatientIdSchema)]
    pub patient_id: PatientId,
    pub error_code: Option<String>,
    #[schema(schema_with = counts::export)]
    pub counts: ExportCounts,
}

impl ExportView {
    /// An export with its triggers, the patients it is for (none: all) and how far
    /// it is.
    #[must_use]
    pub fn whole(
        mut export: Export,
        patients: Vec<PatientId>,
        progress: Option<ExportProgress>,
    ) -> Self {
        let triggers = std::mem::take(&mut export.triggers);
        Self {
            triggers: Some(triggers.into_iter().map(TriggerView::from).collect()),
            patient_ids: Some(patients).filter(|patients| !patients.is_empty()),
            progress: progress.map(|progress| ExportProgressView {
                connections: progress.connections,
                connections_written: progress.connections_written,
                connections_failed: progress.connections_failed,
            }),
            ..Self::from(export)
        }
    }
}

impl From<ExportError> for ExportErrorView {
    fn from(error: ExportError) -> Self {
        Self {
            connection_id: error.connection_id,
            patient_id: error.patient_id,
            error_code: error.error_code,
            counts: error.counts,
        }
    }
}

impl From<Export> for ExportView {
    fn from(export: Export) -> Self {
        Self {
            id: export.id,
            destination_id: export.destination_id,
            state: export.state,
            phase: export.phase,
            retry_of: export.retry_of,
            full: export.full,
            counts: export.counts,
            patients: export.patients,
            part_count: export.part_count,
            size_bytes: export.size_bytes,
            publication_count: export.publication_count,
            error_code: export.error_code,
            created_at: text(export.created_at),
            started_at: export.started_at.map(text),
            finished_at: export.finished_at.map(text),
            triggers: None,
            patient_ids: None,
            progress: None,
        }
    }
}

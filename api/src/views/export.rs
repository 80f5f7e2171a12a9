//! Exports.

use db::Export;
use model::{DestinationId, ExportCounts, ExportId, RunPhase, RunState};
use serde::Serialize;
use utoipa::ToSchema;

use super::counts;
use super::pull::TriggerView;
use super::text;
use super::words::{DestinationIdSchema, ExportIdSchema, RunPhaseSchema, RunStateSchema};

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
}

impl ExportView {
    /// An export with its triggers.
    #[must_use]
    pub fn whole(mut export: Export) -> Self {
        let triggers = std::mem::take(&mut export.triggers);
        Self {
            triggers: Some(triggers.into_iter().map(TriggerView::from).collect()),
            ..Self::from(export)
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
        }
    }
}

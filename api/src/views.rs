//! Rows as they stand on the wire, in the API and in `--json` lists. Names are
//! a contract: they change additively. Times are RFC 3339 text in UTC.

use std::collections::BTreeMap;

use db::{ConnectionSummary, Destination, Export, HeldDeletes, Pull, PullType, TriggerCount};
use model::{
    ConnectionId, ConnectionStatus, DestinationId, ExportCounts, ExportId, FileFormat, HeldState,
    PatientId, PullCounts, PullId, PullKind, RunPhase, RunState, SourceId, Timestamp, Trigger,
    TypeOutcome,
};
use serde::Serialize;

/// A pull.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::Pull`")]
pub struct PullView {
    pub id: PullId,
    pub connection_id: ConnectionId,
    pub kind: PullKind,
    pub state: RunState,
    pub phase: RunPhase,
    pub retry_of: Option<PullId>,
    pub batch_seq: Option<u64>,
    pub pages: u64,
    pub counts: PullCounts,
    pub error_code: Option<String>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// Why it was asked for; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<TriggerView>>,
    /// What it got of each type: its coverage; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<PullTypeView>>,
    /// Deletions that it held back; left out of lists, and where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldView>,
}

/// Deletions that a pull held back.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::HeldDeletes`")]
pub struct HeldView {
    pub pull_id: PullId,
    pub connection_id: ConnectionId,
    pub state: HeldState,
    pub row_count: u64,
    pub types: BTreeMap<String, u64>,
    pub created_at: String,
    pub decided_at: Option<String>,
    pub accepted_by: Option<PullId>,
}

/// What a pull got of one type.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::PullType`")]
pub struct PullTypeView {
    pub resource_type: String,
    pub outcome: TypeOutcome,
    pub error_code: Option<String>,
    pub pages: u64,
    pub counts: PullCounts,
}

/// How often a run was asked for, for one reason.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::TriggerCount`")]
pub struct TriggerView {
    pub reason: Trigger,
    pub count: u64,
    pub first_at: String,
}

/// An export.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::Export`")]
pub struct ExportView {
    pub id: ExportId,
    pub destination_id: DestinationId,
    pub state: RunState,
    pub phase: RunPhase,
    pub retry_of: Option<ExportId>,
    /// Whether everything was to be sent again.
    pub full: bool,
    pub counts: ExportCounts,
    pub patients: u64,
    pub part_count: u64,
    pub size_bytes: u64,
    pub publication_count: u64,
    pub error_code: Option<String>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// Why it was asked for; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<TriggerView>>,
}

/// A destination.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `db::Destination`")]
pub struct DestinationView {
    pub id: DestinationId,
    pub name: String,
    pub location: String,
    pub format: FileFormat,
    pub enabled: bool,
    pub epoch: u64,
    pub last_publication: u64,
    pub failures: u64,
    /// Before then, no automatic run; none when nothing holds one back.
    pub not_before: Option<String>,
    pub created_at: String,
}

/// A connection. Never the patient's id at the source, nor a token.
#[derive(Debug, Clone, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of `db::ConnectionSummary`"
)]
pub struct ConnectionView {
    pub id: ConnectionId,
    pub patient_id: PatientId,
    pub external_id: Option<String>,
    pub source_id: SourceId,
    pub status: ConnectionStatus,
    pub enabled: bool,
    pub head_seq: u64,
    pub created_at: String,
}

fn text(time: Timestamp) -> String {
    time.to_string()
}

impl PullView {
    /// A pull with its triggers, its coverage and what it held back.
    #[must_use]
    pub fn whole(mut pull: Pull, types: Vec<PullType>, held: Option<HeldDeletes>) -> Self {
        let triggers = std::mem::take(&mut pull.triggers);
        Self {
            triggers: Some(triggers.into_iter().map(TriggerView::from).collect()),
            types: Some(types.into_iter().map(PullTypeView::from).collect()),
            held: held.map(HeldView::from),
            ..Self::from(pull)
        }
    }
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

impl From<Pull> for PullView {
    fn from(pull: Pull) -> Self {
        Self {
            id: pull.id,
            connection_id: pull.connection_id,
            kind: pull.kind,
            state: pull.state,
            phase: pull.phase,
            retry_of: pull.retry_of,
            batch_seq: pull.batch_seq,
            pages: pull.pages,
            counts: pull.counts,
            error_code: pull.error_code,
            created_at: text(pull.created_at),
            started_at: pull.started_at.map(text),
            finished_at: pull.finished_at.map(text),
            triggers: None,
            types: None,
            held: None,
        }
    }
}

impl From<HeldDeletes> for HeldView {
    fn from(held: HeldDeletes) -> Self {
        Self {
            pull_id: held.pull_id,
            connection_id: held.connection_id,
            state: held.state,
            row_count: held.row_count,
            types: held.types,
            created_at: text(held.created_at),
            decided_at: held.decided_at.map(text),
            accepted_by: held.accepted_by,
        }
    }
}

impl From<PullType> for PullTypeView {
    fn from(of: PullType) -> Self {
        Self {
            resource_type: of.resource_type,
            outcome: of.outcome,
            error_code: of.error_code,
            pages: of.pages,
            counts: of.counts,
        }
    }
}

impl From<TriggerCount> for TriggerView {
    fn from(trigger: TriggerCount) -> Self {
        Self {
            reason: trigger.reason,
            count: trigger.count,
            first_at: text(trigger.first_at),
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

impl From<Destination> for DestinationView {
    fn from(destination: Destination) -> Self {
        Self {
            id: destination.id,
            name: destination.name,
            location: destination.location,
            format: destination.format,
            enabled: destination.enabled,
            epoch: destination.epoch,
            last_publication: destination.last_publication,
            failures: destination.failures,
            not_before: (destination.not_before.0 > 0).then(|| text(destination.not_before)),
            created_at: text(destination.created_at),
        }
    }
}

impl From<ConnectionSummary> for ConnectionView {
    fn from(connection: ConnectionSummary) -> Self {
        Self {
            id: connection.id,
            patient_id: connection.patient_id,
            external_id: connection.external_id,
            source_id: connection.source_id,
            status: connection.status,
            enabled: connection.enabled,
            head_seq: connection.head_seq,
            created_at: text(connection.created_at),
        }
    }
}

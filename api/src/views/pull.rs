//! Pulls, their coverage, and what they held back.

use std::collections::BTreeMap;

use db::{HeldDeletes, Pull, PullProgress, PullQueue, PullType, TriggerCount};
use model::{
    AttachmentCounts, ConnectionId, HeldState, PullCounts, PullId, PullKind, PullMode, RunPhase,
    RunState, Trigger, TypeNote, TypeOutcome,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::counts;
use super::text;
use super::words::{
    ConnectionIdSchema, HeldStateSchema, PullIdSchema, PullKindSchema, PullModeSchema,
    RunPhaseSchema, RunStateSchema, TriggerSchema, TypeOutcomeSchema,
};

/// A pull.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Pull`")]
#[schema(as = Pull)]
pub struct PullView {
    #[schema(value_type = PullIdSchema)]
    pub id: PullId,
    #[schema(value_type = ConnectionIdSchema)]
    pub connection_id: ConnectionId,
    #[schema(value_type = PullKindSchema)]
    pub kind: PullKind,
    #[schema(value_type = RunStateSchema)]
    pub state: RunState,
    #[schema(value_type = RunPhaseSchema)]
    pub phase: RunPhase,
    /// Whether it was to ask for everything.
    pub full: bool,
    #[schema(value_type = Option<PullIdSchema>)]
    pub retry_of: Option<PullId>,
    pub batch_seq: Option<u64>,
    pub pages: u64,
    #[schema(schema_with = counts::pull)]
    pub counts: PullCounts,
    #[schema(schema_with = counts::attachments)]
    pub attachments: Option<AttachmentCounts>,
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
    /// What it got of each type: its coverage; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<PullTypeView>>,
    /// Deletions that it held back; left out of lists, and where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldView>,
    /// What it waits for, while it is queued; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<PullQueueView>,
    /// How far it is, while it is running; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<PullProgressView>,
}

/// How far a pull is: what is fetched and durable.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PullProgress)]
pub struct PullProgressView {
    /// Resources fetched, before repetitions are dropped.
    pub resources: u64,
    /// The size of what they are staged in, compressed.
    pub size_bytes: u64,
}

/// What a queued pull waits for: at most `concurrent_pulls` of its source are at work at
/// the same time.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PullQueue)]
pub struct PullQueueView {
    /// Pulls of the same source that are started before it.
    pub ahead: u64,
    /// Pulls of the same source that are at work.
    pub at_work: u64,
    /// The pull at work of the same connection, which it follows; null where there is none.
    #[schema(value_type = Option<PullIdSchema>)]
    pub behind: Option<PullId>,
}

/// Deletions that a pull held back.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::HeldDeletes`")]
#[schema(as = Held)]
pub struct HeldView {
    #[schema(value_type = PullIdSchema)]
    pub pull_id: PullId,
    #[schema(value_type = ConnectionIdSchema)]
    pub connection_id: ConnectionId,
    #[schema(value_type = HeldStateSchema)]
    pub state: HeldState,
    pub row_count: u64,
    pub types: BTreeMap<String, u64>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub decided_at: Option<String>,
    #[schema(value_type = Option<PullIdSchema>)]
    pub accepted_by: Option<PullId>,
}

/// What a pull got of one type.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::PullType`")]
#[schema(as = PullType)]
pub struct PullTypeView {
    pub resource_type: String,
    /// What was asked for: `full`, everything; `updated`, what had changed. Null where it
    /// was met by reference, or on the way.
    #[schema(value_type = Option<PullModeSchema>)]
    pub mode: Option<PullMode>,
    #[schema(value_type = TypeOutcomeSchema)]
    pub outcome: TypeOutcome,
    pub error_code: Option<String>,
    pub pages: u64,
    #[schema(schema_with = counts::pull)]
    pub counts: PullCounts,
    /// What is to be said of the type beside.
    pub notes: Vec<TypeNoteView>,
}

/// What a pull has to say of a type beside its outcome and counts: how it had to be
/// asked for, what was refused or set aside.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `model::TypeNote`")]
#[schema(as = TypeNote)]
pub struct TypeNoteView {
    pub code: String,
    pub count: u64,
    pub parameter: Option<String>,
    pub values: Vec<String>,
}

/// How often a run was asked for, for one reason.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::TriggerCount`")]
#[schema(as = RunTrigger)]
pub struct TriggerView {
    #[schema(value_type = TriggerSchema)]
    pub reason: Trigger,
    pub count: u64,
    #[schema(format = DateTime)]
    pub first_at: String,
}

impl PullView {
    /// The same pull, with what it waits for.
    #[must_use]
    pub fn waiting(self, queue: Option<PullQueue>) -> Self {
        Self {
            queue: queue.map(|queue| PullQueueView {
                ahead: queue.ahead,
                at_work: queue.at_work,
                behind: queue.behind,
            }),
            ..self
        }
    }

    /// A pull with its triggers, its coverage, what it held back and how far it is.
    #[must_use]
    pub fn whole(
        mut pull: Pull,
        types: Vec<PullType>,
        held: Option<HeldDeletes>,
        progress: Option<PullProgress>,
    ) -> Self {
        let triggers = std::mem::take(&mut pull.triggers);
        Self {
            triggers: Some(triggers.into_iter().map(TriggerView::from).collect()),
            types: Some(types.into_iter().map(PullTypeView::from).collect()),
            held: held.map(HeldView::from),
            progress: progress.map(|progress| PullProgressView {
                resources: progress.resources,
                size_bytes: progress.size_bytes,
            }),
            ..Self::from(pull)
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
            full: pull.full,
            retry_of: pull.retry_of,
            batch_seq: pull.batch_seq,
            pages: pull.pages,
            counts: pull.counts,
            attachments: pull.attachments,
            error_code: pull.error_code,
            created_at: text(pull.created_at),
            started_at: pull.started_at.map(text),
            finished_at: pull.finished_at.map(text),
            triggers: None,
            types: None,
            held: None,
            queue: None,
            progress: None,
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
            mode: of.mode,
            outcome: of.outcome,
            error_code: of.error_code,
            pages: of.pages,
            counts: of.counts,
            notes: of.notes.into_iter().map(TypeNoteView::from).collect(),
        }
    }
}

impl From<TypeNote> for TypeNoteView {
    fn from(note: TypeNote) -> Self {
        Self {
            code: note.code,
            count: note.count,
            parameter: note.parameter,
            values: note.values,
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

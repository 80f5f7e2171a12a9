//! Attachments: documents that resources name by a URL.

use db::Attachment;
use model::{AttachmentId, AttachmentState, PullId};
use serde::Serialize;
use utoipa::ToSchema;

use super::text;
use super::words::{AttachmentIdSchema, AttachmentStateSchema, PullIdSchema};

/// A document that a resource names by a URL, and what became of it. Never the URL, nor
/// the resource's id.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Attachment)]
pub struct AttachmentView {
    /// Its id.
    #[schema(value_type = AttachmentIdSchema)]
    pub id: AttachmentId,
    /// The type of a resource that names it.
    pub resource_type: String,
    /// `fetched`: its bytes are kept; `failed`: the source kept failing, and is asked
    /// again; `refused`; `gone`: it is not there; `too_large`; `type_not_allowed`;
    /// `elsewhere`: at another server, or nowhere.
    #[schema(value_type = AttachmentStateSchema)]
    pub state: AttachmentState,
    /// Why; of one that was fetched, what does not agree with what its resource says.
    pub code: Option<String>,
    /// Attempts in a row that brought nothing.
    pub attempts: u64,
    /// Before then it is not asked for again, unless everything is asked for.
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
    /// The media type that its resource says it has.
    pub declared_type: Option<String>,
    /// The media type that the source gave it.
    pub content_type: Option<String>,
    /// The size of the bytes that are kept; null where there are none.
    pub size_bytes: Option<u64>,
    /// The SHA-256 of these bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// When these bytes were fetched.
    #[schema(format = DateTime)]
    pub fetched_at: Option<String>,
    /// The last pull that asked for it, or decided not to.
    #[schema(value_type = PullIdSchema)]
    pub pull_id: PullId,
    /// When it was met first.
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl From<Attachment> for AttachmentView {
    fn from(of: Attachment) -> Self {
        let object = of.object.as_ref();
        Self {
            id: of.id,
            resource_type: of.resource_type,
            state: of.state,
            code: of.code,
            attempts: of.attempts,
            not_before: of.not_before.map(text),
            declared_type: of.declared.media_type,
            content_type: of.content_type,
            size_bytes: object.map(|object| object.size_bytes),
            sha256: object.map(|object| object.sha256.clone()),
            fetched_at: object.map(|object| text(object.fetched_at)),
            pull_id: of.pull_id,
            created_at: text(of.created_at),
        }
    }
}

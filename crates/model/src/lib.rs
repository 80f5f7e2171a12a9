//! The nouns of Chartlift and the rules that need nothing but their inputs: ids,
//! states, counts, the names of objects, the publication file, and what is known
//! of a resource's raw text.
//!
//! Invariant: pure. No I/O, no async, no database; every other room may depend
//! on this one and it depends on none.

mod attachment;
mod auth;
mod compact;
mod counts;
mod format;
mod hash;
mod head;
mod id;
mod json;
mod key;
mod masked;
mod media_type;
mod note;
mod probe;
mod publication;
mod references;
mod resource;
mod row;
mod scope;
mod sound;
mod state;
mod time;
mod walk;
mod word;

pub use attachment::{ATTACHING_TYPES, AttachmentRef, attachments};
pub use auth::{ClientMethod, SigningAlgorithm};
pub use compact::compact;
pub use counts::{AttachmentCounts, ExportCounts, PullCounts};
pub use format::FileFormat;
pub use hash::{ContentHash, content_hash};
pub use head::read_head;
pub use id::{
    AttachmentId, AuditId, BatchId, ConnectionId, DestinationId, EventId, ExportId, IdError, KeyId,
    PatientId, ProbeId, PullId, SourceId,
};
pub use json::{elements, member_values};
pub use key::{ObjectKey, piece_keys};
pub use masked::is_masked;
pub use media_type::{MediaTypes, OCTETS, media_type};
pub use note::TypeNote;
pub use probe::{Check, CheckResult, ProbeKind, ProbeReport, Rehearsal, Verdict};
pub use publication::{PUBLICATION_VERSION, Part, Publication, Span};
pub use references::{questionnaires, references};
pub use resource::{
    Head, RawResource, RejectReason, SHARED_TYPES, is_resource_type, is_shared_type,
};
pub use row::{Change, Reason, ResourceKey, RowMeta};
pub use scope::Scope;
pub use sound::check_sound;
pub use state::{
    AttachmentPolicy, AttachmentState, ConnectionStatus, HeldState, HoldReason, PullKind, PullMode,
    RunPhase, RunState, Strategy, Trigger, TypeOutcome, WordError,
};
pub use time::{Timestamp, fhir_instant};
pub use walk::{Found, Walk};

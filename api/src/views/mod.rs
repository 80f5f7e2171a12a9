//! Rows as they stand on the wire, in the API and in `--json` lists. Names are
//! a contract: they change additively. Times are RFC 3339 text in UTC.

mod access;
mod attachment;
mod counts;
mod export;
mod probe;
mod pull;
mod registry;
pub(crate) mod words;

use model::Timestamp;

pub use self::access::{AuditView, KeyView, NewKeyView};
pub use self::attachment::AttachmentView;
pub use self::export::{ExportErrorView, ExportProgressView, ExportView};
pub use self::probe::{CheckView, ProbeView, RehearsalView};
pub use self::pull::{
    HeldView, PullProgressView, PullQueueView, PullTypeView, PullView, TriggerView, TypeNoteView,
};
pub use self::registry::{ConnectionView, DestinationView, PatientView, SourceView};

fn text(time: Timestamp) -> String {
    time.to_string()
}

//! The FHIR R4 client: capabilities, the plan of what to ask for, pages of
//! searches, reads, and what of an answer is a resource.
//!
//! Invariant: knows nothing of databases, runs or workflows, and keeps no state
//! between calls: cursors, visited links, retries and rates are the caller's. A
//! credential goes to the configured origin and nowhere else, and every request
//! through the guard. No error text, log
//! event or `Debug` here carries a path, a query, a body, an id or a token (I9).
//!
//! Beside the searches stand `$everything`, whose pages are those of a search, and
//! Bulk Data of one patient.

mod attachment;
mod auth;
mod base;
mod binary;
mod capability;
mod client;
mod compartment;
mod error;
mod export;
mod export_file;
mod export_line;
#[cfg(test)]
mod export_tests;
mod fan_out;
mod first_page;
mod header;
mod owner;
mod page;
mod parts;
#[cfg(test)]
mod parts_tests;
mod reference;
mod request;
mod said;
mod salvage;
mod scopes;
mod transport;

pub use attachment::{
    AttachmentAnswer, AttachmentBody, AttachmentPlace, AttachmentRequest, attachment_place,
};
pub use auth::{
    Grant, Granted, KeyError, Login, NoToken, Proof, SigningKey, Token, TokenClient, TokenError,
    TokenFuture, TokenLimits, TokenSource, check_token_url,
};
pub use base::identity;
pub use capability::{Capabilities, TypeCapability};
pub use client::{ReadOutcome, SourceClient};
pub use compartment::{
    Access, CLOSURE_TYPES, StreamPlan, Wanted, is_asked_by_patient, is_in_compartment,
};
pub use error::{Error, Host};
pub use export::{ExportFile, ExportStatus, FileKind, Manifest};
pub use export_file::{ExportLines, RawLine};
pub use export_line::{Issues, Line, deleted_line, issues_line, resource_line};
pub use fan_out::{FanOut, fan_out};
pub use first_page::FirstPage;
pub use owner::{Owner, owner_of};
pub use page::{Page, cursor_hash, split_page};
pub use reference::reference_target;
pub use request::{Answered, Auth, Limits, NoTurn, Pace, Secret};
pub use said::{Categories, Demand, Said};

//! One resource as its source wrote it: the raw text, and the few members that
//! Chartlift must know of it. The text is never re-serialised (I12): number
//! text, escapes, key order and unknown elements stay; only whitespace between
//! tokens is dropped, once, where pages are split.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a row says of its resource beside the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// `resourceType`.
    pub resource_type: String,
    /// `id`, as the source wrote it: of any length, of any characters.
    pub id: String,
    /// `meta.versionId`.
    pub version_id: Option<String>,
    /// `meta.lastUpdated`, as text.
    pub last_updated: Option<String>,
}

/// A resource: compact raw JSON text and its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawResource {
    /// What the row says of it.
    pub head: Head,
    /// The hash of its content (see [`crate::content_hash`]).
    pub hash: crate::ContentHash,
    /// Its compact JSON text, without a line feed.
    pub text: Bytes,
}

/// Why a served resource was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// `resourceType` is missing, twice there, or not of the form `[A-Z][A-Za-z]{0,63}`.
    #[error("no usable resourceType")]
    ResourceType,
    /// `id` is missing, empty, twice there, or no string.
    #[error("no usable id")]
    Id,
}

/// Whether `name` can be a resource type: `[A-Z][A-Za-z]{0,63}`. It becomes part
/// of object names, so nothing else may pass.
#[must_use]
pub fn is_resource_type(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Types that several patients' records share. Never tombstoned by absence.
pub const SHARED_TYPES: &[&str] = &[
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
];

/// Whether resources of this type are met through several patients' pulls.
#[must_use]
pub fn is_shared_type(resource_type: &str) -> bool {
    SHARED_TYPES.contains(&resource_type)
}

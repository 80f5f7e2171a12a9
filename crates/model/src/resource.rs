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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum RejectReason {
    /// The entry has no resource.
    #[error("no resource")]
    Missing,
    /// Not JSON.
    #[error("broken JSON")]
    Syntax,
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// An object in it names a member twice.
    #[error("an object with a member twice")]
    DuplicateKey,
    /// Objects and arrays more than 100 deep.
    #[error("nested too deep")]
    TooDeep,
    /// Half a surrogate pair in a string.
    #[error("half a surrogate pair")]
    LoneSurrogate,
    /// A line of an export longer than the limit.
    #[error("too large")]
    TooLarge,
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

impl RejectReason {
    /// The code of the remark that counts these.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "rejected_no_resource",
            Self::Syntax => "rejected_broken_json",
            Self::Encoding => "rejected_not_utf8",
            Self::DuplicateKey => "rejected_duplicate_key",
            Self::TooDeep => "rejected_too_deep",
            Self::LoneSurrogate => "rejected_lone_surrogate",
            Self::TooLarge => "rejected_too_large",
            Self::NotAnObject => "rejected_no_object",
            Self::ResourceType => "rejected_no_type",
            Self::Id => "rejected_no_id",
        }
    }
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

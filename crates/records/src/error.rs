//! What can go wrong with the record store, by what the caller does about it.
//! Texts name objects, which carry our ids alone, and never what lies in them.

use objects::Trouble;

/// An error of the record store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is not there. After a merge: read pointer and catalogue again.
    #[error("object `{object}` does not exist in the record store")]
    NotFound {
        /// Its name.
        object: String,
    },
    /// The name is taken by other bytes. Names are unique, so this is final.
    #[error("object `{object}` exists already, with other content")]
    AlreadyExists {
        /// Its name.
        object: String,
    },
    /// The object is not what was written. An index can be rebuilt; a staging
    /// object or batch cannot: `chartlift verify` shows how far it goes.
    #[error("object `{object}` is corrupt: {what}")]
    Corrupt {
        /// Its name.
        object: String,
        /// Which check it failed.
        what: &'static str,
    },
    /// The object was written by a newer Chartlift: upgrade this one.
    #[error(
        "object `{object}` has format version {version}, and this Chartlift reads up to {version_max}"
    )]
    UnsupportedVersion {
        /// Its name.
        object: String,
        /// The version it states.
        version: u16,
        /// The newest version this code reads.
        version_max: u16,
    },
    /// The place or the key cannot be used.
    #[error("the record store cannot be used: {what}")]
    Unsupported {
        /// Why not.
        what: String,
    },
    /// The store does not accept the key.
    #[error(
        "the record store does not accept the key: set `s3.access_key_id` and `s3.secret_access_key` to a valid one"
    )]
    KeyRefused,
    /// The store has no such bucket.
    #[error(
        "the bucket of the record store does not exist: make it, or correct `records.location`"
    )]
    BucketMissing,
    /// The store's address must not be connected to.
    #[error("the record store is not asked: {0}")]
    AddressRefused(guard::Refused),
    /// The store overwrites where it should refuse, so that no object would be safe.
    #[error(
        "the record store has no conditional create: a second create of one object was not refused as it must be; use a store, or a file system with hard links, that refuses it"
    )]
    NoConditionalCreate,
    /// The store refused us: its credentials or permissions need a person.
    #[error("the record store refused access to `{object}`")]
    Denied {
        /// The name of the object.
        object: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The store did not answer as it should: try again later.
    #[error("the record store could not serve `{object}`")]
    Unavailable {
        /// The name of the object.
        object: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// Something is larger than the format holds. Final.
    #[error("a {what} of {size_bytes} bytes is too large: the limit is {size_bytes_max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size_bytes: u64,
        /// The largest size.
        size_bytes_max: u64,
    },
    /// The caller broke a rule of this crate. Final.
    #[error("invalid use of the record store: {what}")]
    Invalid {
        /// The rule.
        what: &'static str,
    },
}

impl Error {
    pub(crate) fn corrupt(object: &str, what: &'static str) -> Self {
        Self::Corrupt {
            object: object.to_owned(),
            what,
        }
    }

    /// Sorts what the object store said by what the caller does about it.
    pub(crate) fn from_store(object: &str, source: object_store::Error) -> Self {
        use object_store::Error as E;
        let object = object.to_owned();
        match Trouble::find(&source) {
            Some(Trouble::AddressRefused) => return Self::AddressRefused(guard::Refused),
            Some(Trouble::BucketMissing) => return Self::BucketMissing,
            Some(Trouble::KeyRefused) => return Self::KeyRefused,
            Some(Trouble::Denied) => return Self::Denied { object, source },
            // Somebody sets a clock or a certificate right; until then it is away.
            Some(Trouble::ClockSkew | Trouble::Tls) | None => {}
        }
        match source {
            E::NotFound { .. } => Self::NotFound { object },
            E::AlreadyExists { .. } => Self::AlreadyExists { object },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::Denied { object, source }
            }
            source => Self::Unavailable { object, source },
        }
    }

    /// The object the error is about, where it is about one.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::NotFound { object }
            | Self::AlreadyExists { object }
            | Self::Corrupt { object, .. }
            | Self::UnsupportedVersion { object, .. }
            | Self::Denied { object, .. }
            | Self::Unavailable { object, .. } => Some(object),
            Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::KeyRefused
            | Self::BucketMissing
            | Self::AddressRefused(_)
            | Self::NoConditionalCreate => None,
        }
    }
}

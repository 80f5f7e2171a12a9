//! What a destination may answer, by what the caller does about it.

use std::error::Error as StdError;
use std::io::ErrorKind;

use model::DestinationId;
use objects::Trouble;

/// An operation on a destination that did not succeed. Objects are named by
/// their key, which holds our ids and resource types only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another destination, or another deployment's, lives there.
    #[error(
        "the location belongs to destination {owner}: give this destination a folder or prefix of its own"
    )]
    ForeignOwner {
        /// Whose it is.
        owner: DestinationId,
    },

    /// The location cannot be used by this version.
    #[error(
        "location `{location}` is not supported: {reason}; give an absolute folder path, a file:// URL or s3://bucket/prefix"
    )]
    Unsupported {
        /// The location, cut where it might hold a credential.
        location: String,
        /// Why not.
        reason: &'static str,
    },

    /// The store overwrites where it should refuse, so that no number of a
    /// publication could be relied on.
    #[error(
        "the store at the destination has no conditional create: a second create of one object was not \
         refused as it must be; use a store, or a file system with hard links, that refuses it"
    )]
    NoConditionalCreate,

    /// The object is not there.
    #[error(
        "`{object}` is not at the destination: check that its location is mounted and was not emptied"
    )]
    NotFound {
        /// Its key.
        object: String,
    },

    /// The object is there and is not what it should be.
    #[error(
        "`{object}` at the destination is damaged: {what}; move it away and run `chartlift verify`"
    )]
    Corrupt {
        /// Its key.
        object: String,
        /// What is wrong with it.
        what: String,
    },

    /// A later version of Chartlift wrote the object.
    #[error(
        "`{object}` was written by a later version of Chartlift (format {version}): upgrade this one"
    )]
    Newer {
        /// Its key.
        object: String,
        /// The version it names.
        version: u32,
    },

    /// The key to the destination's object store cannot be used.
    #[error(
        "the destination's credentials cannot be used: {what}; give them with `chartlift destination credentials`"
    )]
    Credentials {
        /// Why not.
        what: String,
    },

    /// The store does not accept the key.
    #[error(
        "the destination's object store does not accept the key: give a valid one with `chartlift destination credentials`"
    )]
    KeyRefused,

    /// The store has no such bucket.
    #[error("the destination's bucket does not exist: make it, or check the location")]
    BucketMissing,

    /// The store's clock, or ours, is wrong.
    #[error(
        "the destination's clock and this machine's are over 5 minutes apart: set both by a time server"
    )]
    ClockSkew,

    /// The store's certificate was not accepted, or it does not speak TLS.
    #[error(
        "no TLS connection to the destination's object store came about: check that its endpoint speaks TLS \
         and that its certificate is valid for its name and signed by an authority this machine knows"
    )]
    Tls,

    /// The store's address must not be connected to.
    #[error("the destination's object store is not asked: {0}")]
    AddressRefused(guard::Refused),

    /// The destination does not let us.
    #[error(
        "the destination denied access to `{object}`: check its credentials or the folder's permissions"
    )]
    Denied {
        /// The key of what was asked for.
        object: String,
        /// The store's own error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The destination did not answer as it should; it may later.
    #[error(
        "the destination failed on `{object}`: it is tried again; check that it is reachable and has space left"
    )]
    Unavailable {
        /// The key of what was asked for.
        object: String,
        /// The store's own error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// What the store's failure on `object` means to a caller.
    pub(crate) fn of(object: &str, error: object_store::Error) -> Self {
        let object = object.to_owned();
        match Trouble::find(&error) {
            Some(Trouble::AddressRefused) => return Self::AddressRefused(guard::Refused),
            Some(Trouble::BucketMissing) => return Self::BucketMissing,
            Some(Trouble::KeyRefused) => return Self::KeyRefused,
            Some(Trouble::ClockSkew) => return Self::ClockSkew,
            Some(Trouble::Tls) => return Self::Tls,
            Some(Trouble::Denied) => {
                let source = error.into();
                return Self::Denied { object, source };
            }
            None => {}
        }
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { object },
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => Self::Denied {
                object,
                source: error.into(),
            },
            _ => Self::of_source(object, error.into()),
        }
    }

    /// As [`Self::of`], where the reason lies in an I/O error within.
    pub(crate) fn of_source(object: String, source: Box<dyn StdError + Send + Sync>) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&*source);
        while let Some(error) = cause {
            match error
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind)
            {
                Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                    return Self::Denied { object, source };
                }
                Some(ErrorKind::NotFound) => return Self::NotFound { object },
                Some(_) | None => cause = error.source(),
            }
        }
        Self::Unavailable { object, source }
    }
}

//! What a destination may answer, by what the caller does about it.

use std::error::Error as StdError;
use std::io::ErrorKind;

use model::DestinationId;

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
        "location `{location}` is not supported: {reason}; give an absolute folder path or a file:// URL"
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

//! Reading parts back, for `verify`, and removing those that nothing names.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use model::Part;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::{Error, FileDestination};

/// The folders parts lie in.
const FOLDERS: [&str; 2] = ["ndjson", "tables"];

/// What became of a part since it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartCheck {
    /// Size and hash are those published; the rows are for the caller to count.
    Sound(Bytes),
    /// It is not there.
    Missing,
    /// It has another size.
    Size {
        /// The size it has.
        size_bytes: u64,
    },
    /// It has the size and other bytes.
    Hash {
        /// The SHA-256 it has, lower-case hexadecimal.
        sha256: String,
    },
}

/// An object at a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredObject {
    /// Its key.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
}

impl FileDestination {
    /// The bytes of a part.
    pub async fn read_part(&self, part: &Part) -> Result<Bytes, Error> {
        self.read(&path(part)?)
            .await?
            .ok_or_else(|| Error::NotFound {
                object: part.path.clone(),
            })
    }

    /// The size of a part, if it is there.
    pub async fn part_size(&self, part: &Part) -> Result<Option<u64>, Error> {
        self.size(&path(part)?).await
    }

    /// Compares a part with what its publication says of it. It is read only if
    /// its size is right, and held in memory then.
    pub async fn check_part(&self, part: &Part) -> Result<PartCheck, Error> {
        match self.part_size(part).await? {
            None => return Ok(PartCheck::Missing),
            Some(size_bytes) if size_bytes != part.size_bytes => {
                return Ok(PartCheck::Size { size_bytes });
            }
            Some(_) => {}
        }
        let Some(bytes) = self.read(&path(part)?).await? else {
            return Ok(PartCheck::Missing);
        };
        let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(if sha256 == part.sha256 {
            PartCheck::Sound(bytes)
        } else {
            PartCheck::Hash { sha256 }
        })
    }

    /// Every file that could be a part, by name: also those of no publication.
    pub async fn list_parts(&self) -> Result<Vec<StoredObject>, Error> {
        let mut parts = Vec::new();
        for folder in FOLDERS {
            let objects = self.list(folder).await?.into_iter();
            parts.extend(
                objects
                    .filter(|meta| meta.location.filename() != Some("manifest.json"))
                    .map(|meta| StoredObject {
                        path: meta.location.to_string(),
                        size_bytes: meta.size,
                    }),
            );
        }
        Ok(parts)
    }

    /// Removes a file that [`Self::list_parts`] has shown; one that is gone is
    /// removed already.
    pub async fn remove_part(&self, object: &StoredObject) -> Result<(), Error> {
        let path = Path::parse(&object.path).map_err(|_| Error::Corrupt {
            object: object.path.escape_debug().to_string(),
            what: "its path is not one of ours".to_owned(),
        })?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::of(&object.path, error)),
        }
    }
}

/// A part's path was read from a file at the destination: it may be anything, and
/// must not lead out of it.
fn path(part: &Part) -> Result<Path, Error> {
    Path::parse(&part.path).map_err(|_| Error::Corrupt {
        object: part.path.escape_debug().to_string(),
        what: "its path is not one of ours".to_owned(),
    })
}

//! Whose prefix it is, and whether the store can be relied on.

use bytes::Bytes;
use model::{DestinationId, ObjectKey, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::files::Created;
use crate::{Error, FileDestination};

/// The folder of [`ObjectKey::Probe`].
const PROBE_FOLDER: &str = "_chartlift/probe";
/// The version of the owner file this code writes.
const OWNER_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Owner {
    version: u32,
    destination_id: DestinationId,
}

impl FileDestination {
    /// Makes the prefix ours, or finds that it is. For the creation of a
    /// destination; afterwards [`Self::confirm_owner`] notices what this would
    /// paper over: a folder that is not mounted looks like an empty one.
    pub async fn claim_owner(&self) -> Result<(), Error> {
        let owner = Owner {
            version: OWNER_VERSION,
            destination_id: self.id,
        };
        let path = Path::from(ObjectKey::Owner.to_string());
        let bytes = serde_json::to_vec(&owner).expect("ids and numbers serialise");
        match self.create(&path, bytes.into()).await? {
            Created::Yes => Ok(()),
            Created::Taken => self.confirm_owner().await,
        }
    }

    /// Finds that the prefix is ours, and writes nothing.
    pub async fn confirm_owner(&self) -> Result<(), Error> {
        let object = ObjectKey::Owner.to_string();
        let bytes = self.read(&Path::from(object.as_str())).await?;
        let bytes = bytes.ok_or_else(|| Error::NotFound {
            object: object.clone(),
        })?;
        let owner: Owner = serde_json::from_slice(&bytes).map_err(|_| Error::Corrupt {
            object: object.clone(),
            what: "it is not an owner file".to_owned(),
        })?;
        if owner.version > OWNER_VERSION {
            return Err(Error::Newer {
                object,
                version: owner.version,
            });
        }
        if owner.destination_id != self.id {
            return Err(Error::ForeignOwner {
                owner: owner.destination_id,
            });
        }
        Ok(())
    }

    /// What `doctor` asks: [`Self::probe`], then [`Self::confirm_owner`].
    pub async fn check(&self) -> Result<(), Error> {
        self.probe().await?;
        self.confirm_owner().await
    }

    /// Writes a sentinel, create-only; expects that a second create is refused;
    /// reads, lists and deletes it. To be asked before a prefix is claimed.
    pub async fn probe(&self) -> Result<(), Error> {
        let token = format!("{}-{}", std::process::id(), Timestamp::now().0);
        let path = Path::from(ObjectKey::Probe { token }.to_string());
        let probed = self.probe_at(&path).await;
        // Also after a failure: a sentinel of ours must not stay.
        match (probed, self.store.delete(&path).await) {
            (Ok(()), Ok(())) => Ok(()),
            (Ok(()), Err(error)) => Err(Error::of(path.as_ref(), error)),
            (Err(error), Ok(()) | Err(object_store::Error::NotFound { .. })) => Err(error),
            (Err(error), Err(_)) => {
                tracing::warn!(destination.id = %self.id, object = %path, "the sentinel of a failed probe stays");
                Err(error)
            }
        }
    }

    async fn probe_at(&self, path: &Path) -> Result<(), Error> {
        let sentinel = Bytes::from_static(b"chartlift");
        let corrupt = |what: &str| Error::Corrupt {
            object: path.to_string(),
            what: what.to_owned(),
        };
        if let Err(error) = self.create(path, sentinel.clone()).await {
            // A file system without hard links fails the create and takes a write.
            let writable = matches!(error, Error::Unavailable { .. } | Error::Denied { .. })
                && self.replace(path, sentinel).await.is_ok();
            return Err(if writable {
                Error::NoConditionalCreate
            } else {
                error
            });
        }
        if self.create(path, Bytes::from_static(b"second")).await? != Created::Taken {
            return Err(Error::NoConditionalCreate);
        }
        if self.read(path).await?.as_ref() != Some(&sentinel) {
            return Err(corrupt("what was written was not read back"));
        }
        if !self
            .list(PROBE_FOLDER)
            .await?
            .iter()
            .any(|meta| meta.location == *path)
        {
            return Err(corrupt("what was written was not listed"));
        }
        Ok(())
    }
}

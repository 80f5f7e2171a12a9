//! Whose prefix it is.

use model::{DestinationId, ObjectKey};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::files::Created;
use crate::{Error, FileDestination};

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
}

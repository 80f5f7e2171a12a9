//! A destination of files, and the few operations on objects that everything
//! else here is made of.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use guard::Guard;
use model::{DestinationId, ObjectKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use objects::{Access, Location};

use crate::{Error, location};

/// A folder or prefix that one destination owns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileDestination {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) id: DestinationId,
}

/// Whether a create found its name free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    Taken,
}

impl FileDestination {
    /// Opens the destination at `location`, an absolute folder path or a
    /// `file://` URL. The folder is created where it is missing; whose it is is
    /// for [`Self::claim_owner`] and [`Self::confirm_owner`] to say.
    ///
    /// It touches the disk: not for an async context that must not wait.
    pub fn open(location: &str, id: DestinationId) -> Result<Self, Error> {
        let folder = location::folder(location)?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::of_source(location.to_owned(), error.into()))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| Error::of(location, error))?;
        // Off by default: without it a receipt could outlive the part it is for.
        Ok(Self::over(Arc::new(store.with_fsync(true)), id))
    }

    /// As [`Self::open`], for a destination that was added before: makes nothing. A
    /// folder that is not mounted would look like an empty one.
    pub fn reopen(location: &str, id: DestinationId) -> Result<Self, Error> {
        if location::folder(location)?.is_dir() {
            return Self::open(location, id);
        }
        Err(Error::NotFound {
            object: ObjectKey::Owner.to_string(),
        })
    }

    /// Opens the destination at `location`, an `s3://` URL. Reaches for nothing yet.
    pub fn open_s3(
        location: &str,
        access: &Access,
        guard: &Guard,
        id: DestinationId,
    ) -> Result<Self, Error> {
        let place = Location::parse(location).map_err(|error| Error::Unsupported {
            location: "s3://…".to_owned(),
            reason: error.reason,
        })?;
        let store = objects::open(&place, access, guard).map_err(|error| Error::Credentials {
            what: error.to_string(),
        })?;
        Ok(Self::over(store, id))
    }

    /// The destination at the root of `store`.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, id: DestinationId) -> Self {
        Self { store, id }
    }

    /// Whose destination it is.
    #[must_use]
    pub fn id(&self) -> DestinationId {
        self.id
    }

    /// Writes a part, once. Its name holds a hash of its bytes, so a part of this
    /// name and size is this part; of another size it is damaged.
    pub async fn put_part(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), Error> {
        let size_bytes = bytes.len() as u64;
        if self.create(&Path::from(key.to_string()), bytes).await? == Created::Yes {
            return Ok(());
        }
        let object = key.to_string();
        match self.size(&Path::from(key.to_string())).await? {
            Some(found) if found == size_bytes => Ok(()),
            Some(found) => Err(Error::Corrupt {
                object,
                what: format!("it has {found} bytes and should have {size_bytes}"),
            }),
            None => Err(Error::NotFound { object }),
        }
    }

    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<Created, Error> {
        match self
            .store
            .put_opts(path, PutPayload::from_bytes(bytes), PutMode::Create.into())
            .await
        {
            Ok(_) => Ok(Created::Yes),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Created::Taken),
            Err(
                object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. },
            ) => Err(Error::NoConditionalCreate),
            Err(error) => Err(Error::of(path.as_ref(), error)),
        }
    }

    pub(crate) async fn replace(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        let put = self.store.put(path, PutPayload::from_bytes(bytes)).await;
        put.map(|_| ())
            .map_err(|error| Error::of(path.as_ref(), error))
    }

    /// The whole object, if it is there.
    pub(crate) async fn read(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        let read = async { self.store.get(path).await?.bytes().await };
        found(path, read.await)
    }

    /// The size of the object, if it is there.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>, Error> {
        found(path, self.store.head(path).await.map(|meta| meta.size))
    }

    /// Everything below `folder`, by name.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, Error> {
        let listed = self
            .store
            .list(Some(&Path::from(folder)))
            .try_collect::<Vec<_>>()
            .await;
        let mut objects = listed.map_err(|error| Error::of(folder, error))?;
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }
}

fn found<T>(path: &Path, result: Result<T, object_store::Error>) -> Result<Option<T>, Error> {
    match result.map_err(|error| Error::of(path.as_ref(), error)) {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

//! The object store behind the record store: names in, bytes out, errors typed.
//!
//! Objects are written under an [`ObjectKey`] and read under its text, which is
//! what the database keeps.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use guard::Guard;
use model::{ObjectKey, Timestamp};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use objects::{Access, Location};

use crate::Error;

/// Sentinels in a row that may be lost.
const PROBES_MAX: u32 = 5;

/// The record store's objects.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
}

/// An object found by [`Store::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub object: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: Timestamp,
}

impl Store {
    /// A record store in `objects`.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// A record store in a local folder, which is created if it is not there.
    /// Every write is synced to disk before it returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the folder cannot be made or opened.
    pub fn open_local(folder: &FilePath) -> Result<Self, Error> {
        let object = folder.display().to_string();
        let source = |source| Error::Unavailable {
            object: object.clone(),
            source: object_store::Error::Generic {
                store: "LocalFileSystem",
                source,
            },
        };
        std::fs::create_dir_all(folder).map_err(|error| source(Box::new(error)))?;
        let objects =
            LocalFileSystem::new_with_prefix(folder).map_err(|error| source(Box::new(error)))?;
        Ok(Self::new(Arc::new(objects.with_fsync(true))))
    }

    /// A record store in S3, at an `s3://` URL. Reaches for nothing yet.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a place or a key that cannot be used.
    pub fn open_s3(location: &str, access: &Access, guard: &Guard) -> Result<Self, Error> {
        let unsupported = |what: String| Error::Unsupported { what };
        let place = Location::parse(location).map_err(|error| unsupported(error.to_string()))?;
        let store = objects::open(&place, access, guard);
        Ok(Self::new(
            store.map_err(|error| unsupported(error.to_string()))?,
        ))
    }

    /// Writes a sentinel, create-only; expects that a second create is refused;
    /// reads, and deletes it.
    ///
    /// A store that drops emptied folders may lose what is written at the very moment
    /// in which another worker's sentinel is removed from the same one, as workers that
    /// start together do: so it is tried a few times.
    ///
    /// # Errors
    /// [`Error::NoConditionalCreate`], and what the store says.
    pub async fn probe(&self) -> Result<(), Error> {
        for _ in 1..PROBES_MAX {
            match self.probe_once().await {
                Err(Error::NotFound { .. }) => {}
                end => return end,
            }
        }
        self.probe_once().await
    }

    async fn probe_once(&self) -> Result<(), Error> {
        let token = format!("{}-{}", std::process::id(), Timestamp::now().0);
        let key = ObjectKey::Probe { token };
        let probed = self.probe_at(&key).await;
        // Also after a failure: a sentinel of ours must not stay.
        let deleted = self.delete(&key.to_string()).await;
        probed.and(deleted)
    }

    async fn probe_at(&self, key: &ObjectKey) -> Result<(), Error> {
        let sentinel = Bytes::from_static(b"chartlift");
        self.put_create(key, sentinel.clone()).await?;
        match self.put_create(key, Bytes::from_static(b"second")).await {
            Err(Error::AlreadyExists { .. }) => {}
            Ok(()) => return Err(Error::NoConditionalCreate),
            Err(error) => return Err(error),
        }
        let object = key.to_string();
        if self.get(&object).await? == sentinel {
            Ok(())
        } else {
            Err(Error::corrupt(
                &object,
                "what was written was not read back",
            ))
        }
    }

    /// The object store itself.
    #[must_use]
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Writes a new object, durably. A name that already holds *the same bytes*
    /// is a success: names are unique to an attempt, so it is our own write whose
    /// answer was lost and that the store's client sent again.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where the name holds other bytes, and what the
    /// store says.
    pub async fn put_create(
        &self,
        key: &ObjectKey,
        bytes: impl Into<PutPayload>,
    ) -> Result<(), Error> {
        let (object, payload) = (key.to_string(), bytes.into());
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        match self
            .objects
            .put_opts(&path(&object)?, payload.clone(), options)
            .await
        {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let there = self.get(&object).await?;
                if is_same(&payload, &there) {
                    Ok(())
                } else {
                    Err(Error::AlreadyExists { object })
                }
            }
            Err(error) => Err(Error::from_store(&object, error)),
        }
    }

    /// Writes an object whether it is there or not, durably. For the few names
    /// that are written again: `SettleSeq`, `Probe`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn put(&self, key: &ObjectKey, bytes: impl Into<PutPayload>) -> Result<(), Error> {
        let object = key.to_string();
        let result = self.objects.put(&path(&object)?, bytes.into()).await;
        result
            .map(drop)
            .map_err(|error| Error::from_store(&object, error))
    }

    /// The whole of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what the store says.
    pub async fn get(&self, object: &str) -> Result<Bytes, Error> {
        let got = self.get_opts(object, GetOptions::default()).await?;
        got.bytes()
            .await
            .map_err(|error| Error::from_store(object, error))
    }

    /// The bytes `range` of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what the store says.
    pub async fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let wanted = range.end.saturating_sub(range.start);
        let result = self.objects.get_range(&path(object)?, range).await;
        let bytes = result.map_err(|error| Error::from_store(object, error))?;
        if bytes.len() as u64 == wanted {
            Ok(bytes)
        } else {
            Err(Error::corrupt(object, "it is cut short"))
        }
    }

    /// An object, as `options` ask for it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what the store says.
    pub async fn get_opts(&self, object: &str, options: GetOptions) -> Result<GetResult, Error> {
        let result = self.objects.get_opts(&path(object)?, options).await;
        result.map_err(|error| Error::from_store(object, error))
    }

    /// The size of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], and what the store says.
    pub async fn size_bytes(&self, object: &str) -> Result<u64, Error> {
        let result = self.objects.head(&path(object)?).await;
        Ok(result
            .map_err(|error| Error::from_store(object, error))?
            .size)
    }

    /// Up to the last `count` bytes of an object, and its size.
    pub(crate) async fn get_tail(&self, object: &str, count: u64) -> Result<(Bytes, u64), Error> {
        let options = GetOptions {
            range: Some(GetRange::Suffix(count)),
            ..GetOptions::default()
        };
        match self.objects.get_opts(&path(object)?, options).await {
            Ok(got) => {
                let size_bytes = got.meta.size;
                let bytes = got
                    .bytes()
                    .await
                    .map_err(|error| Error::from_store(object, error))?;
                Ok((bytes, size_bytes))
            }
            Err(error) => match Error::from_store(object, error) {
                // Azure knows no suffix ranges, and an empty object has no range at all.
                Error::Unavailable { .. } => {
                    let size_bytes = self.size_bytes(object).await?;
                    if size_bytes == 0 {
                        return Ok((Bytes::new(), 0));
                    }
                    let start = size_bytes.saturating_sub(count);
                    Ok((self.get_range(object, start..size_bytes).await?, size_bytes))
                }
                told => Err(told),
            },
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete(&self, object: &str) -> Result<(), Error> {
        match self.objects.delete(&path(object)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::from_store(object, error)),
        }
    }

    /// The names of the folders right under `prefix`, sorted.
    ///
    /// # Errors
    /// What the store says.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let listed = self
            .objects
            .list_with_delimiter(Some(&Path::from(prefix)))
            .await
            .map_err(|error| Error::from_store(prefix, error))?;
        let mut names: Vec<String> = listed
            .common_prefixes
            .iter()
            .filter_map(|folder| folder.filename().map(ToOwned::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The objects whose name begins with the folders of `prefix`, in no order.
    /// The stream yields what the store says as errors.
    #[must_use]
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedObject, Error>> {
        let prefix_text = prefix.to_owned();
        let prefix = Path::from(prefix);
        self.objects
            .list(Some(&prefix))
            .map_ok(|meta| ListedObject {
                object: meta.location.to_string(),
                size_bytes: meta.size,
                modified: Timestamp(meta.last_modified.timestamp_micros()),
            })
            .map_err(move |error| Error::from_store(&prefix_text, error))
            .boxed()
    }
}

fn path(object: &str) -> Result<Path, Error> {
    Path::parse(object).map_err(|_| Error::Invalid {
        what: "an object name is not a path",
    })
}

fn is_same(payload: &PutPayload, bytes: &Bytes) -> bool {
    let mut rest: &[u8] = bytes;
    payload.content_length() == bytes.len()
        && payload.iter().all(|chunk| {
            let (head, tail) = rest.split_at(chunk.len());
            rest = tail;
            head == chunk
        })
}

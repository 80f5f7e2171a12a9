//! Whether a destination can be relied on: a sentinel is written, read, listed and
//! removed, each with a verdict of its own.

use std::time::Duration;

use bytes::Bytes;
use model::{Check, ObjectKey, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::files::Created;
use crate::{Error, FileDestination};

/// The folder of [`ObjectKey::Probe`].
const PROBE_FOLDER: &str = "_chartlift/probe";
const SENTINEL: Bytes = Bytes::from_static(b"chartlift");
/// How far the store's clock may be from ours: what is left over is told from what
/// is being written by its age, and stores refuse requests signed 15 minutes off.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// A check and how it ended; none where it was not looked at.
pub type Checked = (Check, Option<Result<(), Error>>);

impl FileDestination {
    /// The first thing that it cannot do of [`Self::try_all`]. To be asked before a
    /// prefix is claimed.
    pub async fn probe(&self) -> Result<(), Error> {
        for (_, outcome) in self.try_all().await {
            outcome.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Tries all that an export needs, with a sentinel that is removed at the end.
    /// What cannot be tried since nothing could be written is left out.
    pub async fn try_all(&self) -> Vec<Checked> {
        let token = format!("{}-{}", std::process::id(), Timestamp::now().0);
        let path = Path::from(ObjectKey::Probe { token }.to_string());
        let before = Timestamp::now();
        let written = self.try_write(&path).await;
        let mut checks = Vec::with_capacity(6);
        if written.is_ok() {
            checks.push((Check::CreateOnly, Some(self.try_second_write(&path).await)));
            checks.push((Check::Read, Some(self.try_read(&path).await)));
            checks.push((Check::List, Some(self.try_list(&path).await)));
            checks.push((Check::Clock, Some(self.try_clock(&path, before).await)));
        } else {
            checks.extend(
                [Check::CreateOnly, Check::Read, Check::List, Check::Clock].map(|of| (of, None)),
            );
        }
        checks.push((Check::Delete, self.try_delete(&path, written.is_ok()).await));
        checks.insert(0, (Check::Write, Some(written)));
        checks
    }

    async fn try_write(&self, path: &Path) -> Result<(), Error> {
        match self.create(path, SENTINEL).await {
            Ok(_) => Ok(()),
            // A file system without hard links fails the create and takes a write.
            Err(error @ (Error::Unavailable { .. } | Error::Denied { .. })) => {
                let is_writable = self.replace(path, SENTINEL).await.is_ok();
                Err(if is_writable {
                    Error::NoConditionalCreate
                } else {
                    error
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn try_second_write(&self, path: &Path) -> Result<(), Error> {
        match self.create(path, SENTINEL).await? {
            Created::Taken => Ok(()),
            Created::Yes => Err(Error::NoConditionalCreate),
        }
    }

    async fn try_read(&self, path: &Path) -> Result<(), Error> {
        if self.read(path).await? == Some(SENTINEL) {
            return Ok(());
        }
        Err(corrupt(path, "what was written was not read back"))
    }

    async fn try_list(&self, path: &Path) -> Result<(), Error> {
        let listed = self.list(PROBE_FOLDER).await?;
        if listed.iter().any(|meta| meta.location == *path) {
            return Ok(());
        }
        Err(corrupt(path, "what was written was not listed"))
    }

    /// Whether the store says that the sentinel was written when it was.
    async fn try_clock(&self, path: &Path, before: Timestamp) -> Result<(), Error> {
        let meta = self.store.head(path).await;
        let meta = meta.map_err(|error| Error::of(path.as_ref(), error))?;
        let written = Timestamp(meta.last_modified.timestamp_micros());
        let is_near = written >= before.before(CLOCK_SKEW_MAX)
            && written <= Timestamp::now().after(CLOCK_SKEW_MAX);
        if is_near {
            Ok(())
        } else {
            Err(Error::ClockSkew)
        }
    }

    /// Removes the sentinel. Also after a failure: it may be there, and must not
    /// stay; but then there is no verdict.
    async fn try_delete(&self, path: &Path, is_written: bool) -> Option<Result<(), Error>> {
        match self.store.delete(path).await {
            Ok(()) if is_written => Some(Ok(())),
            Err(error) if is_written => Some(Err(Error::of(path.as_ref(), error))),
            _ => None,
        }
    }
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::Corrupt {
        object: path.to_string(),
        what: what.to_owned(),
    }
}

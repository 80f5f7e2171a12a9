//! Staging: what a pull has fetched and not settled yet. A step saves its cursor
//! only after the object that holds the pages before it is durable.

use std::time::{Duration, Instant};

use model::{Change, ConnectionId, ObjectKey, RawResource, Reason, Timestamp};

use crate::{Error, IndexEntry, RowRef, SegmentWriter, Store};

/// A staging object is closed at this much raw text (4 MiB): what a killed pull
/// has to fetch again, and what settle reads in one request.
pub const STAGING_RAW_BYTES: u64 = 4 << 20;

/// A staging object is closed this long (30 s) after its first resource, so that
/// a slow source's pages are saved too.
pub const STAGING_AGE_MAX: Duration = Duration::from_secs(30);

/// A staging object that is durable: what the step's row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingObject {
    /// Its name.
    pub key: String,
    /// How many resources it holds, gone ones included.
    pub row_count: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// Collects resources until they are worth an object.
pub struct StagingWriter {
    segment: SegmentWriter,
    row_count: u64,
    first_row_at: Option<Instant>,
    raw_bytes_max: u64,
    age_max: Duration,
}

impl StagingWriter {
    /// A writer that is ready at [`STAGING_RAW_BYTES`] or [`STAGING_AGE_MAX`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where zstd finds no memory.
    pub fn new(connection: ConnectionId) -> Result<Self, Error> {
        Self::with_limits(connection, STAGING_RAW_BYTES, STAGING_AGE_MAX)
    }

    /// A writer that is ready at `raw_bytes_max` or at the age `age_max`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where zstd finds no memory.
    pub fn with_limits(
        connection: ConnectionId,
        raw_bytes_max: u64,
        age_max: Duration,
    ) -> Result<Self, Error> {
        let segment = SegmentWriter::new(Some(connection))?;
        Ok(Self {
            segment,
            row_count: 0,
            first_row_at: None,
            raw_bytes_max,
            age_max,
        })
    }

    /// Adds a resource, in the order in which it was served.
    ///
    /// # Errors
    /// As [`SegmentWriter::push_row`].
    pub fn push(&mut self, resource: &RawResource, fetched_at: Timestamp) -> Result<(), Error> {
        self.segment.push(resource, fetched_at)?;
        self.row_count += 1;
        self.first_row_at.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Adds evidence that a resource is gone: of the content that the index knows,
    /// and of no other that is served later.
    ///
    /// # Errors
    /// As [`SegmentWriter::push_tombstone`].
    pub fn push_gone(
        &mut self,
        gone: &IndexEntry<'_>,
        reason: Reason,
        found_at: Timestamp,
    ) -> Result<(), Error> {
        self.segment.push_tombstone_ref(RowRef {
            resource_type: gone.resource_type,
            id: gone.id,
            version_id: None,
            last_updated: None,
            change: Change::Deleted,
            reason,
            content_hash: gone.content_hash,
            fetched_at: found_at,
            batch_seq: 0,
            settle_seq: 0,
        })?;
        self.row_count += 1;
        self.first_row_at.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Whether it is time to close: large enough, or old enough.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.segment.raw_bytes() >= self.raw_bytes_max
            || self
                .first_row_at
                .is_some_and(|first| first.elapsed() >= self.age_max)
    }

    /// Whether nothing was pushed: then there is nothing to close.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Writes the object, durably.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more rows than a footer holds, and what the store
    /// says.
    pub async fn close(self, store: &Store, key: &ObjectKey) -> Result<StagingObject, Error> {
        let written = self.segment.finish_chunks()?;
        store.put_create(key, written.to_payload()).await?;
        Ok(StagingObject {
            key: key.to_string(),
            row_count: self.row_count,
            size_bytes: written.size_bytes,
        })
    }
}

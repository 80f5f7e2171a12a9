//! Settle: staged resources become one batch of what is new, changed or gone.
//!
//! Reads footers and compares; texts are touched only where they are wanted, and
//! mostly copied compressed. Writes at most two objects, under names that no
//! other attempt can write; the caller's transaction makes them count.

mod compare;

use std::collections::{BTreeMap, HashSet};

use model::{BatchId, ConnectionId, ObjectKey, PullCounts};

use self::compare::{Counts, confirmed, differing, newest_staged};
use crate::copy::carry;
use crate::newest::open_all;
use crate::{BatchRef, Error, Index, RowRef, SegmentWriter, Store, masked};

/// A staging object up to this size (16 MiB) is read in one request.
const STAGING_WHOLE_BYTES_MAX: u64 = 16 << 20;

/// The numbers reserved for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Its number in the connection's log: the head's + 1.
    pub batch_seq: u64,
    /// Its number in the deployment-wide order of settles.
    pub settle_seq: u64,
}

/// What is to be settled. A staged tombstone is evidence that a key is gone; it
/// does not count where the key was served too, is unknown or gone already, has
/// other content than was known when the evidence was found, or is of a shared
/// type and only absent (I11).
#[derive(Debug)]
pub struct Settle<'a> {
    /// Whose record.
    pub connection: ConnectionId,
    /// The names of the staging objects, in the order in which they were served.
    pub staging: &'a [String],
    /// The connection's index; `None` where its log is empty.
    pub index: Option<Index>,
    /// The batches of its log, where masked copies may have been staged: none of them
    /// replaces a whole one. `None` where there are none, and no text is read for it.
    pub log: Option<&'a [BatchRef]>,
    /// The numbers reserved for the batch.
    pub numbers: Numbers,
    /// This attempt's batch.
    pub batch: BatchId,
}

/// A batch that is durable, not yet committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchObject {
    /// Its name.
    pub key: String,
    /// Its rows, tombstones included.
    pub row_count: u64,
    /// Its size.
    pub size_bytes: u64,
    /// How many of its rows are tombstones.
    pub deleted_count: u64,
    /// The name of the index that includes it.
    pub index_key: String,
    /// The size of that index.
    pub index_size_bytes: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The batch; `None` where nothing differed.
    pub batch: Option<BatchObject>,
    /// True counts by type, without what the pull ignored or rejected.
    pub counts_by_type: BTreeMap<String, PullCounts>,
    /// Masked copies by type that did not replace what is known whole; they count as
    /// superseded.
    pub left_out_by_type: BTreeMap<String, u64>,
}

/// Settles: see [`Settle`]. The same inputs give the same bytes.
///
/// # Errors
/// [`Error::Corrupt`] and [`Error::NotFound`] name a staging object;
/// [`Error::Invalid`] where the index knows the batch's number already;
/// [`Error::TooLarge`], and what the store says.
pub async fn settle(store: &Store, input: Settle<'_>) -> Result<Settled, Error> {
    let Settle {
        connection,
        staging,
        index,
        log,
        numbers,
        batch,
    } = input;
    let index = index.unwrap_or_default();
    if index.last_seq() >= numbers.batch_seq {
        return Err(Error::Invalid {
            what: "the index knows the number of the batch to settle already",
        });
    }
    let mut readers = open_all(store, staging.to_vec()).await?;
    if let Some(alien) = readers
        .iter()
        .find(|reader| reader.footer().connection() != Some(connection))
    {
        return Err(Error::corrupt(
            alien.object(),
            "it is staging of another connection",
        ));
    }
    let masked = match log {
        Some(_) => masked::rows(&mut readers).await?,
        None => HashSet::new(),
    };
    let mut counts = Counts::new();
    let staged = newest_staged(&readers, &masked, &mut counts);
    let tombstones = confirmed(&readers, &staged, &index);
    let rivals = masked::rivals(&readers, &staged.rows, &masked, &index);
    let left_out = masked::left_out(store, log.unwrap_or_default(), rivals).await?;
    let left_out_by_type = masked::count_by_type(&readers, &left_out);
    let wanted = differing(&readers, &staged, &left_out, &index, &mut counts);
    for (resource_type, _) in tombstones.keys() {
        counts.entry(resource_type).or_default().deleted += 1;
    }
    let counts_by_type = counts
        .into_iter()
        .map(|(name, counts)| (name.to_owned(), counts))
        .collect();
    if wanted.iter().all(Vec::is_empty) && tombstones.is_empty() {
        return Ok(Settled {
            batch: None,
            counts_by_type,
            left_out_by_type,
        });
    }
    let mut writer = SegmentWriter::new(Some(connection))?;
    for row in tombstones.into_values() {
        writer.push_tombstone_ref(RowRef {
            batch_seq: numbers.batch_seq,
            settle_seq: numbers.settle_seq,
            ..row
        })?;
    }
    // The keys are not needed any more; from here on the memory is the batch's.
    drop(staged);
    for (reader, wanted) in readers
        .iter_mut()
        .zip(&wanted)
        .filter(|(_, wanted)| !wanted.is_empty())
    {
        reader.load(STAGING_WHOLE_BYTES_MAX).await?;
        carry(&mut writer, reader, wanted, Some(numbers)).await?;
        reader.unload();
    }
    drop(readers);
    let batch = save(store, writer, index, (connection, numbers.batch_seq, batch)).await?;
    Ok(Settled {
        batch: Some(batch),
        counts_by_type,
        left_out_by_type,
    })
}

/// Writes a batch and the index after it.
async fn save(
    store: &Store,
    writer: SegmentWriter,
    mut index: Index,
    (connection, seq, batch): (ConnectionId, u64, BatchId),
) -> Result<BatchObject, Error> {
    let written = writer.finish_chunks()?;
    let key = ObjectKey::Batch {
        connection,
        seq,
        batch,
    };
    let index_key = ObjectKey::Index {
        connection,
        seq,
        batch,
    };
    store.put_create(&key, written.to_payload()).await?;
    let (size_bytes, footer) = (written.size_bytes, written.footer);
    drop(written.chunks);
    index.apply(seq, &footer)?;
    let index_size_bytes = index.save(store, &index_key).await?;
    let is_gone = |row: &RowRef<'_>| row.is_tombstone();
    Ok(BatchObject {
        key: key.to_string(),
        row_count: footer.row_count().into(),
        size_bytes,
        deleted_count: footer.rows().filter(is_gone).count() as u64,
        index_key: index_key.to_string(),
        index_size_bytes,
    })
}

//! Merging batches: one object with the newest row of each key, which keeps its
//! own numbers, and the index that goes with it. The swap of the catalogue is the
//! maintenance's business.

use model::{BatchId, ConnectionId, ObjectKey};

use crate::copy::{Wanted, carry};
use crate::newest::{newest, open_all};
use crate::segment::Written;
use crate::{BatchRef, Error, Index, SegmentWriter, Store};

/// What is to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Merge<'a> {
    /// Whose log.
    pub connection: ConnectionId,
    /// All its batches, in any order.
    pub batches: &'a [BatchRef],
    /// The tombstones up to this batch that are newest of their key are dropped:
    /// everybody who was told of the resource knows that it is gone.
    pub drop_tombstones_to: u64,
    /// This attempt's batch.
    pub batch: BatchId,
}

/// A merged batch and its index, durable, not yet committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The number of the last batch in it.
    pub seq: u64,
    /// Its name.
    pub key: String,
    /// Its rows, tombstones included.
    pub row_count: u64,
    /// How many of its rows are tombstones.
    pub deleted_count: u64,
    /// Its size.
    pub size_bytes: u64,
    /// The name of its index.
    pub index_key: String,
}

/// Merges a log. Holds the footers (about 100 bytes a row) and the merged batch,
/// compressed; texts are read one frame at a time.
///
/// # Errors
/// [`Error::NotFound`] where a batch is gone: read the catalogue again.
/// [`Error::Invalid`] where there is nothing to merge or a batch is another
/// connection's; [`Error::TooLarge`], and what the store says.
pub async fn merge(store: &Store, input: Merge<'_>) -> Result<Merged, Error> {
    let Merge {
        connection, batch, ..
    } = input;
    let seq = input.batches.iter().map(|batch| batch.seq).max();
    let seq = seq.ok_or(Error::Invalid {
        what: "a log without batches cannot be merged",
    })?;
    let written = write(store, &input).await?;
    let key = ObjectKey::MergedBatch {
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
    let mut index = Index::new();
    index.apply(seq, &footer)?;
    index.save(store, &index_key).await?;
    Ok(Merged {
        seq,
        key: key.to_string(),
        row_count: footer.row_count().into(),
        deleted_count: footer.rows().filter(|row| row.is_tombstone()).count() as u64,
        size_bytes,
        index_key: index_key.to_string(),
    })
}

/// Carries the newest row of each key over.
async fn write(store: &Store, input: &Merge<'_>) -> Result<Written, Error> {
    let mut batches = input.batches.to_vec();
    batches.sort();
    let readers = open_all(store, batches.into_iter().map(|batch| batch.key).collect()).await?;
    if readers
        .iter()
        .any(|reader| reader.footer().connection() != Some(input.connection))
    {
        return Err(Error::Invalid {
            what: "batches of several connections cannot be merged",
        });
    }
    let (rows, _) = newest(&readers, 0, u64::MAX);
    let mut writer = SegmentWriter::new(Some(input.connection))?;
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let reader = &readers[rows[0].0 as usize];
        let wanted = |(_, row): &(u32, u32)| {
            let is = reader.footer().row(*row);
            let is_kept = !is.is_tombstone() || is.batch_seq > input.drop_tombstones_to;
            is_kept.then_some(Wanted {
                row: *row,
                change: is.change,
            })
        };
        let wanted: Vec<_> = rows.iter().filter_map(wanted).collect();
        carry(&mut writer, reader, &wanted, None).await?;
    }
    writer.finish_chunks()
}

//! Settle: staged resources become one batch of what is new, changed or gone.
//!
//! Reads footers and compares; texts are touched only where they are wanted, and
//! mostly copied compressed. Writes at most two objects, under names that no
//! other attempt can write; the caller's transaction makes them count.

use std::collections::{BTreeMap, HashSet};

use model::{
    BatchId, Change, ConnectionId, ObjectKey, PullCounts, Reason, fhir_instant, is_shared_type,
};

use crate::copy::{Wanted, carry};
use crate::keys::KeyTable;
use crate::span::{At, open_all};
use crate::{BatchRef, Error, Index, RowRef, SegmentReader, SegmentWriter, Store, masked};

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

/// Counts by type, while the footers that name the types are at hand.
type Counts<'a> = BTreeMap<&'a str, PullCounts>;

/// One row for each staged key: slot n of `keys` is `rows[n]`. Tombstones stand
/// apart.
struct Staged {
    keys: KeyTable,
    rows: Vec<At>,
    tombstones: Vec<At>,
}

impl Staged {
    fn find(
        &self,
        readers: &[SegmentReader],
        hash: u64,
        resource_type: &str,
        id: &str,
    ) -> Option<u32> {
        self.keys.find(hash, |slot| {
            let (reader, row) = self.rows[slot as usize];
            readers[reader as usize].footer().key(row) == (resource_type, id)
        })
    }
}

/// Keeps one version of each key: a whole one before a masked one, else the newest by
/// `lastUpdated` where both have an instant, else the later served. Counts fetched,
/// repeated and superseded.
fn newest_staged<'a>(
    readers: &'a [SegmentReader],
    masked: &HashSet<At>,
    counts: &mut Counts<'a>,
) -> Staged {
    let row_count = readers
        .iter()
        .map(|reader| reader.footer().row_count() as usize)
        .sum();
    let mut staged = Staged {
        keys: KeyTable::with_capacity(row_count),
        rows: Vec::with_capacity(row_count),
        tombstones: Vec::new(),
    };
    for (reader_number, reader) in (0..).zip(readers) {
        for (number, row) in (0..).zip(reader.footer().rows()) {
            if row.is_tombstone() {
                staged.tombstones.push((reader_number, number));
                continue;
            }
            let counts = counts.entry(row.resource_type).or_default();
            counts.fetched += 1;
            let hash = staged.keys.hash(row.resource_type, row.id);
            let Some(slot) = staged.find(readers, hash, row.resource_type, row.id) else {
                staged.keys.add(hash);
                staged.rows.push((reader_number, number));
                continue;
            };
            let (kept_reader, kept_row) = staged.rows[slot as usize];
            let is_less = masked.contains(&(reader_number, number));
            let kept_is_less = masked.contains(&(kept_reader, kept_row));
            let kept = readers[kept_reader as usize].footer().row(kept_row);
            if kept.content_hash == row.content_hash {
                counts.repeated += 1;
            } else {
                counts.superseded += 1;
            }
            let replaces = match (is_less, kept_is_less) {
                (true, false) => false,
                (false, true) => true,
                _ => !is_older(row, kept),
            };
            if replaces {
                staged.rows[slot as usize] = (reader_number, number);
            }
        }
    }
    staged
}

/// Whether `later`, served after `kept`, is an older version nevertheless.
fn is_older(later: RowRef<'_>, kept: RowRef<'_>) -> bool {
    let instants = (
        later.last_updated.and_then(fhir_instant),
        kept.last_updated.and_then(fhir_instant),
    );
    matches!(instants, (Some(later), Some(kept)) if later < kept)
}

/// The tombstones that say something new, by key.
fn confirmed<'a>(
    readers: &'a [SegmentReader],
    staged: &Staged,
    index: &Index,
) -> BTreeMap<(&'a str, &'a str), RowRef<'a>> {
    let mut tombstones = BTreeMap::new();
    for (reader, number) in &staged.tombstones {
        let row = readers[*reader as usize].footer().row(*number);
        let (resource_type, id) = (row.resource_type, row.id);
        let hash = staged.keys.hash(resource_type, id);
        let is_live = index.holds(resource_type, id, row.content_hash);
        let is_forbidden = row.reason == Reason::Absent && is_shared_type(resource_type);
        if !is_live || is_forbidden || staged.find(readers, hash, resource_type, id).is_some() {
            continue;
        }
        // What the source itself says outranks what was concluded.
        let kept = tombstones.entry((resource_type, id)).or_insert(row);
        if row.reason == Reason::SourceDeleted && kept.reason != row.reason {
            *kept = row;
        }
    }
    tombstones
}

/// The staged rows that differ from the index, by reader, ascending; those that are
/// left out count as superseded.
fn differing<'a>(
    readers: &'a [SegmentReader],
    staged: &Staged,
    left_out: &HashSet<At>,
    index: &Index,
    counts: &mut Counts<'a>,
) -> Vec<Vec<Wanted>> {
    let mut wanted = vec![Vec::new(); readers.len()];
    for (reader, number) in &staged.rows {
        let row = readers[*reader as usize].footer().row(*number);
        let counts = counts.entry(row.resource_type).or_default();
        if left_out.contains(&(*reader, *number)) {
            counts.superseded += 1;
            continue;
        }
        let known = index
            .get(row.resource_type, row.id)
            .filter(|entry| !entry.is_tombstone);
        let change = match known {
            None => {
                counts.new += 1;
                Change::New
            }
            Some(entry) if entry.content_hash != row.content_hash => {
                counts.changed += 1;
                Change::Changed
            }
            Some(_) => {
                counts.unchanged += 1;
                continue;
            }
        };
        wanted[*reader as usize].push(Wanted {
            row: *number,
            change,
        });
    }
    for rows in &mut wanted {
        rows.sort_unstable_by_key(|wanted| wanted.row);
    }
    wanted
}

//! Objects of a log read side by side: opening them, and the newest row of each key
//! among them.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};

use crate::index::OPEN_CONCURRENCY;
use crate::keys::KeyTable;
use crate::{BatchRef, Error, Index, SegmentReader, Store};

/// A row: the number of its reader, and its number there.
pub(crate) type At = (u32, u32);

/// Opens objects in their order, several at a time.
pub(crate) async fn open_all(
    store: &Store,
    objects: Vec<String>,
) -> Result<Vec<SegmentReader>, Error> {
    let open = |object: String| {
        let store = store.clone();
        async move { SegmentReader::open(&store, &object).await }
    };
    futures::stream::iter(objects)
        .map(open)
        .buffered(OPEN_CONCURRENCY)
        .try_collect()
        .await
}

/// The newest row of each key among the batches `(from, to]` of `readers`, which
/// are in the order of the log: sorted, and how many rows there were.
pub(crate) fn newest(readers: &[SegmentReader], from: u64, to: u64) -> (Vec<At>, u64) {
    let mut keys = KeyTable::default();
    let mut newest: Vec<At> = Vec::new();
    let mut row_count = 0;
    for (reader_number, reader) in (0..).zip(readers) {
        for (number, row) in (0..).zip(reader.footer().rows()) {
            if row.batch_seq <= from || row.batch_seq > to {
                continue;
            }
            row_count += 1;
            let hash = keys.hash(row.resource_type, row.id);
            let row_at = |slot: u32| newest[slot as usize];
            let is_key = |slot| {
                let (reader, other) = row_at(slot);
                readers[reader as usize].footer().key(other) == (row.resource_type, row.id)
            };
            match keys.find(hash, is_key) {
                None => {
                    keys.add(hash);
                    newest.push((reader_number, number));
                }
                Some(slot) => {
                    let (reader, other) = row_at(slot);
                    if readers[reader as usize].footer().row(other).batch_seq <= row.batch_seq {
                        newest[slot as usize] = (reader_number, number);
                    }
                }
            }
        }
    }
    newest.sort_unstable();
    (newest, row_count)
}

/// As [`newest`], from the index; tombstones only where they are told.
pub(crate) fn newest_by_index(
    readers: &[SegmentReader],
    batches: &[BatchRef],
    index: &Index,
    (from, to): (u64, u64),
    tells_gone: bool,
) -> Result<Vec<At>, Error> {
    let numbers: BTreeMap<u64, u32> = batches.iter().map(|batch| batch.seq).zip(0..).collect();
    let mut selected = Vec::new();
    for entry in index.iter() {
        if entry.is_tombstone && !tells_gone {
            continue;
        }
        let Some(reader) = numbers.get(&entry.batch_seq) else {
            continue;
        };
        let footer = readers[*reader as usize].footer();
        let row = (entry.row < footer.row_count())
            .then(|| footer.row(entry.row))
            .filter(|row| {
                row.id == entry.id
                    && row.resource_type == entry.resource_type
                    && row.content_hash == entry.content_hash
                    && row.is_tombstone() == entry.is_tombstone
            });
        let row =
            row.ok_or_else(|| Error::corrupt(index.object(), "an entry does not match its batch"))?;
        if row.batch_seq > from && row.batch_seq <= to {
            selected.push((*reader, entry.row));
        }
    }
    selected.sort_unstable();
    Ok(selected)
}

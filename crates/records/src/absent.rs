//! What was known and was not served again: where a pull looks for deletions.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use model::is_shared_type;

use crate::index::OPEN_CONCURRENCY;
use crate::{Error, Index, IndexEntry, SegmentReader, Store};

/// The live keys of an index that no staging object holds.
#[derive(Debug, Clone, Default)]
pub struct Absences<'a> {
    /// How many live keys each type that was asked for has in the index.
    pub live: BTreeMap<&'a str, u64>,
    /// Those of them that are not staged, in the order of (type, id).
    pub absent: Vec<IndexEntry<'a>>,
}

/// Compares the footers of `staging` with `index`, one object after another: the
/// memory is a bit for each key that is known. Types for which `is_asked` does
/// not hold are passed over, and so are shared ones, which other patients'
/// records may still hold (I11).
///
/// # Errors
/// Those of [`SegmentReader::open`].
pub async fn absences<'a>(
    store: &Store,
    staging: &[String],
    index: &'a Index,
    is_asked: impl Fn(&str) -> bool,
) -> Result<Absences<'a>, Error> {
    let mut staged = vec![false; index.len()];
    let mut readers = futures::stream::iter(staging.to_vec())
        .map(|object| {
            let store = store.clone();
            async move { SegmentReader::open(&store, &object).await }
        })
        .buffered(OPEN_CONCURRENCY);
    while let Some(reader) = readers.try_next().await? {
        for row in reader.footer().rows() {
            if let Some(place) = index.place(row.resource_type, row.id) {
                staged[place] = true;
            }
        }
    }
    let mut found = Absences::default();
    let asked = index.iter().zip(staged).filter(|(entry, _)| {
        !entry.is_tombstone && !is_shared_type(entry.resource_type) && is_asked(entry.resource_type)
    });
    for (entry, is_staged) in asked {
        *found.live.entry(entry.resource_type).or_default() += 1;
        if !is_staged {
            found.absent.push(entry);
        }
    }
    found
        .absent
        .sort_unstable_by_key(|entry| (entry.resource_type, entry.id));
    Ok(found)
}

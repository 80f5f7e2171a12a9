//! Comparing what is staged with the index: one version of each key, and what of it is
//! new, changed or gone.

use std::collections::{BTreeMap, HashSet};

use model::{Change, PullCounts, Reason, fhir_instant, is_shared_type};

use crate::copy::Wanted;
use crate::keys::KeyTable;
use crate::newest::At;
use crate::{Index, RowRef, SegmentReader};

/// Counts by type, while the footers that name the types are at hand.
pub(super) type Counts<'a> = BTreeMap<&'a str, PullCounts>;

/// One row for each staged key: slot n of `keys` is `rows[n]`. Tombstones stand
/// apart.
pub(super) struct Staged {
    keys: KeyTable,
    pub(super) rows: Vec<At>,
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
pub(super) fn newest_staged<'a>(
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
pub(super) fn confirmed<'a>(
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
pub(super) fn differing<'a>(
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

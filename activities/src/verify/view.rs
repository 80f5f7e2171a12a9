//! The latest view of a destination: the newest row of each resource over all
//! publications of its epoch (I2). Only Parquet says of each row where it comes
//! from, so only there can the view be made without the log.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;

use db::{Db, DestinationState};
use formats::FileRow;
use model::ContentHash;
use records::Store;

use super::rows::{Key, Keys, short};
use super::stretch::{self, Stretch, StretchRows};
use super::{Report, VerifyError};

const REPORT_BUG: &str = "keep the destination's files as they are and report this as a bug";

/// The newest row of a resource, in 16 bytes: there is one for each at the
/// destination.
#[derive(Debug, Clone, Copy)]
struct ViewRow {
    batch_seq: u64,
    /// Its content; none for a tombstone.
    content: Option<NonZeroU64>,
}

fn content_of(hash: Option<ContentHash>) -> Option<NonZeroU64> {
    hash.map(|hash| NonZeroU64::new(short(hash)).unwrap_or(NonZeroU64::MIN))
}

/// The newest rows, by connection.
#[derive(Default)]
pub(super) struct View {
    connections: HashMap<String, HashMap<Key, ViewRow>>,
    /// Keys with more than one newest row: there should be none.
    twice: HashSet<Key>,
}

#[derive(Default)]
struct Faults {
    missing: u64,
    other: u64,
    twice: u64,
    gone: u64,
}

impl View {
    /// Takes in a row of a file.
    pub(super) fn add(&mut self, key: Key, row: &FileRow<'_>) {
        let Some((connection, batch_seq)) = row.origin else {
            return;
        };
        if !self.connections.contains_key(connection) {
            self.connections
                .insert(connection.to_owned(), HashMap::new());
        }
        let Some(rows) = self.connections.get_mut(connection) else {
            return;
        };
        let new = ViewRow {
            batch_seq,
            content: content_of(row.content_hash),
        };
        let kept = rows.entry(key).or_insert(ViewRow {
            batch_seq: 0,
            ..new
        });
        match kept.batch_seq.cmp(&batch_seq) {
            Ordering::Less => {
                *kept = new;
                self.twice.remove(&key);
            }
            Ordering::Equal => drop(self.twice.insert(key)),
            Ordering::Greater => {}
        }
    }

    /// Compares the view with each log up to its watermark.
    pub(super) async fn check(
        mut self,
        db: &Db,
        store: &Store,
        keys: &Keys,
        state: &DestinationState,
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        for (connection, watermark) in &state.watermarks {
            let named = connection.to_string();
            let there = self.connections.remove(&named).unwrap_or_default();
            let stretch = Stretch {
                connection: *connection,
                from: 0,
                to: *watermark,
            };
            let Some(log) = stretch::read(db, store, keys, stretch, &named).await? else {
                continue;
            };
            let faults = compare(&log, there, &self.twice);
            let found = [
                (
                    ("I1", "view_missing"),
                    faults.missing,
                    "live resources of the log are not in the latest view",
                ),
                (
                    ("I1", "view_differs"),
                    faults.other,
                    "resources of the latest view are not the log's newest",
                ),
                (
                    ("I2", "view_twice"),
                    faults.twice,
                    "resources have more than one newest row",
                ),
                (
                    ("I2", "view_not_gone"),
                    faults.gone,
                    "resources are live in the latest view and not in the log",
                ),
            ];
            for (kind, count, what) in found.into_iter().filter(|(_, count, _)| *count > 0) {
                report.find(
                    kind,
                    format!("{} {connection}", state.id),
                    format!("{count} {what}"),
                    REPORT_BUG,
                );
            }
        }
        Ok(())
    }
}

fn compare(log: &StretchRows, mut there: HashMap<Key, ViewRow>, twice: &HashSet<Key>) -> Faults {
    let mut faults = Faults::default();
    for (key, row) in &log.newest {
        faults.twice += u64::from(twice.contains(key));
        let kept = there.remove(key).and_then(|kept| kept.content);
        match (content_of(row.content_hash), kept) {
            (Some(_), None) => faults.missing += 1,
            (Some(content), Some(other)) => faults.other += u64::from(content != other),
            (None, Some(_)) => faults.gone += 1,
            (None, None) => {}
        }
    }
    // Of a log that was merged beyond the watermark meanwhile, what has been replaced or
    // deleted since is not there any more: not even its tombstone, once all have it.
    if log.is_whole {
        faults.gone += there.values().filter(|row| row.content.is_some()).count() as u64;
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_merge_beyond_the_watermark_dropped_is_not_missed() {
        let gone = |is_whole| {
            let log = StretchRows {
                is_whole,
                ..StretchRows::default()
            };
            let live = ViewRow {
                batch_seq: 1,
                content: Some(NonZeroU64::MIN),
            };
            compare(&log, HashMap::from([(7, live)]), &HashSet::new()).gone
        };
        assert_eq!((gone(true), gone(false)), (1, 0));
    }
}

//! Rows as `verify` compares them: keys of 16 bytes and sums, so that a million
//! rows fit in some 60 MB.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use db::Db;
use formats::FileRow;
use model::{ConnectionId, ContentHash};
use records::{SegmentReader, Store};

use super::VerifyError;

/// A (connection, type, id).
pub(super) type Key = u128;

/// Makes keys: two keyed hashes, new in each run, so that no source can choose
/// ids that collide.
#[derive(Default)]
pub(super) struct Keys(RandomState, RandomState);

impl Keys {
    /// The key of a resource; `connection` is empty where files do not name it.
    pub(super) fn key(&self, connection: &str, resource_type: &str, id: &str) -> Key {
        let of = |state: &RandomState| u128::from(state.hash_one((connection, resource_type, id)));
        of(&self.0) << 64 | of(&self.1)
    }
}

/// The newest row of a key in a span of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogRow {
    pub(super) batch_seq: u64,
    /// The hash of its content; none for a tombstone.
    pub(super) content_hash: Option<ContentHash>,
}

/// A stretch of a log: the batches `(from, to]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) connection: ConnectionId,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The newest row of each key of a stretch, read from footers and apart from
/// what exports use. None where it cannot be told: a batch is missing or
/// unreadable, which the check of the log reports, or merged away; a merged log
/// still tells what is newest at its head.
pub(super) async fn newest_rows(
    db: &Db,
    store: &Store,
    keys: &Keys,
    stretch: Stretch,
    named: &str,
) -> Result<Option<HashMap<Key, LogRow>>, VerifyError> {
    let Stretch {
        connection,
        from,
        to,
    } = stretch;
    let head = match db.log_head(connection).await {
        Ok(head) => head.head_seq,
        Err(db::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let batches = db.batches(connection, from, to).await?;
    let is_whole = batches.len() as u64 == to.saturating_sub(from);
    if !(is_whole || (from == 0 && to == head)) {
        return Ok(None);
    }
    let mut newest: HashMap<Key, LogRow> = HashMap::new();
    for batch in &batches {
        let Ok(reader) = SegmentReader::open(store, &batch.object_key).await else {
            return Ok(None);
        };
        for row in reader
            .footer()
            .rows()
            .filter(|row| row.batch_seq > from && row.batch_seq <= to)
        {
            let content_hash = (!row.is_tombstone()).then_some(row.content_hash);
            let row_of_log = LogRow {
                batch_seq: row.batch_seq,
                content_hash,
            };
            let kept = newest
                .entry(keys.key(named, row.resource_type, row.id))
                .or_insert(row_of_log);
            if kept.batch_seq <= row.batch_seq {
                *kept = row_of_log;
            }
        }
    }
    Ok(Some(newest))
}

/// Rows that a publication should have against rows that it has.
#[derive(Default)]
pub(super) struct Tally {
    keys: HashMap<Key, Line>,
}

#[derive(Default)]
struct Line {
    expected: u32,
    found: u32,
    /// What was found less what was expected: 0 where they are the same rows.
    difference: u128,
}

/// What a tally came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Rows of the log that are not there.
    pub(super) missing: u64,
    /// Rows that are there more often than they should.
    pub(super) twice: u64,
    /// Rows of no resource that should be there.
    pub(super) unknown: u64,
    /// Resources that are there with other content.
    pub(super) other: u64,
}

impl Tally {
    /// A row that should be there; `with_seq` where files say its batch.
    pub(super) fn expect(&mut self, key: Key, row: LogRow, with_seq: bool) {
        let line = self.keys.entry(key).or_default();
        line.expected += 1;
        line.difference = line.difference.wrapping_sub(print_of(
            row.content_hash,
            with_seq.then_some(row.batch_seq),
        ));
    }

    /// A row that is there.
    pub(super) fn found(&mut self, key: Key, row: &FileRow<'_>) {
        let line = self.keys.entry(key).or_default();
        line.found += 1;
        line.difference = line
            .difference
            .wrapping_add(print_of(row.content_hash, row.origin.map(|(_, seq)| seq)));
    }

    pub(super) fn difference(&self) -> Difference {
        let mut sum = Difference::default();
        for line in self.keys.values() {
            let (expected, found) = (u64::from(line.expected), u64::from(line.found));
            match expected {
                0 => sum.unknown += found,
                _ if found > expected => sum.twice += found - expected,
                _ if found < expected => sum.missing += expected - found,
                _ => sum.other += u64::from(line.difference != 0),
            }
        }
        sum
    }
}

/// A number for content and batch, to be summed.
fn print_of(content_hash: Option<ContentHash>, batch_seq: Option<u64>) -> u128 {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let content = content_hash.map_or(1, |hash| u128::from_le_bytes(hash.0));
    content.wrapping_add(u128::from(batch_seq.unwrap_or_default()).wrapping_mul(SPREAD))
}

//! Rows as `verify` compares them: keys of 16 bytes and sums of 8, so that a
//! million rows fit in some 70 MB.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use formats::FileRow;
use model::ContentHash;

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
    pub(super) settle_seq: u64,
    /// The hash of its content; none for a tombstone.
    pub(super) content_hash: Option<ContentHash>,
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
    difference: u64,
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
    /// A row that should be there; `with_numbers` where files say its batch.
    pub(super) fn expect(&mut self, key: Key, row: LogRow, with_numbers: bool) {
        let line = self.keys.entry(key).or_default();
        line.expected += 1;
        let numbers = with_numbers.then_some((row.batch_seq, row.settle_seq));
        line.difference = line
            .difference
            .wrapping_sub(print_of(row.content_hash, numbers));
    }

    /// A row that is there.
    pub(super) fn found(&mut self, key: Key, row: &FileRow<'_>) {
        let line = self.keys.entry(key).or_default();
        line.found += 1;
        let numbers = row
            .origin
            .map(|(_, batch_seq)| (batch_seq, row.settle_seq.unwrap_or_default()));
        line.difference = line
            .difference
            .wrapping_add(print_of(row.content_hash, numbers));
    }

    /// What is not as it should be. Where merging may have dropped rows of the
    /// log, more may be there than is expected.
    pub(super) fn difference(&self, may_have_more: bool) -> Difference {
        let mut sum = Difference::default();
        for line in self.keys.values() {
            let (expected, found) = (u64::from(line.expected), u64::from(line.found));
            match expected {
                _ if found < expected => sum.missing += expected - found,
                _ if found == expected => sum.other += u64::from(line.difference != 0),
                _ if may_have_more => {}
                0 => sum.unknown += found,
                _ => sum.twice += found - expected,
            }
        }
        sum
    }
}

/// A number for content, batch and settle, to be summed.
fn print_of(content_hash: Option<ContentHash>, numbers: Option<(u64, u64)>) -> u64 {
    const SPREAD_BATCH: u64 = 0x9e37_79b9_7f4a_7c15;
    const SPREAD_SETTLE: u64 = 0xd1b5_4a32_d192_ed03;
    let (batch_seq, settle_seq) = numbers.unwrap_or_default();
    content_hash
        .map_or(1, short)
        .wrapping_add(batch_seq.wrapping_mul(SPREAD_BATCH))
        .wrapping_add(settle_seq.wrapping_mul(SPREAD_SETTLE))
}

/// Half of a hash: enough to tell two contents of one resource apart.
pub(super) fn short(hash: ContentHash) -> u64 {
    let (half, _) = hash.0.split_at(8);
    half.iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

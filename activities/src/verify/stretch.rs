//! What a log says of a stretch of its batches, read from footers and apart from
//! what exports use.

use std::collections::HashMap;

use db::{Db, LogState, LoggedBatch};
use model::ConnectionId;
use records::{Error, SegmentReader, Store};

use super::VerifyError;
use super::rows::{Key, Keys, LogRow};

/// Times a log is read again because it changed meanwhile.
const LOOKS_MAX: u32 = 5;

/// A stretch of a log: the batches `(from, to]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) connection: ConnectionId,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The newest row of each key of a stretch.
#[derive(Default)]
pub(super) struct StretchRows {
    /// Rows of the stretch. Where it is not whole, only those that nothing later
    /// has replaced.
    pub(super) newest: HashMap<Key, LogRow>,
    /// Whether every row of the stretch is known, not only what merging left.
    pub(super) is_whole: bool,
}

/// Whether batches are merged into one, which keeps the newest row of each key
/// and begins the log.
pub(super) fn is_merged(batch: &LoggedBatch) -> bool {
    batch.object_key.ends_with(".merged.ndjson.zst")
}

/// Whether a log was sent on from a copy of the database that knew less: batches
/// of this number are not, and never were, in this database.
pub(super) fn was_passed_over(log: &LogState, seq: u64) -> bool {
    log.jumps.iter().any(|jump| jump.contains(seq))
}

/// Reads a stretch. None where it cannot be told: a batch is not there or cannot
/// be read, which the check of the log reports. A log that is merged while it is
/// read is read again.
pub(super) async fn read(
    db: &Db,
    store: &Store,
    keys: &Keys,
    stretch: Stretch,
    named: &str,
) -> Result<Option<StretchRows>, VerifyError> {
    let mut before = None;
    for _ in 0..LOOKS_MAX {
        let Some(log) = db.log_state(stretch.connection).await? else {
            return Ok(None);
        };
        if let Ok(rows) = rows_of(store, &log, keys, stretch, named).await {
            return Ok(rows);
        }
        if before == Some(log.log_version) {
            break;
        }
        before = Some(log.log_version);
    }
    Ok(None)
}

/// Reads a stretch from the batches that `log` names.
pub(super) async fn rows_of(
    store: &Store,
    log: &LogState,
    keys: &Keys,
    stretch: Stretch,
    named: &str,
) -> Result<Option<StretchRows>, Error> {
    let Stretch { from, to, .. } = stretch;
    let mut rows = StretchRows {
        is_whole: true,
        ..StretchRows::default()
    };
    let mut next_seq = from + 1;
    for batch in log.batches.iter().filter(|batch| batch.seq > from) {
        // A merged batch holds rows of all numbers up to its own.
        let merged = is_merged(batch);
        if batch.seq > to && !merged {
            break;
        }
        if merged {
            // From 0 to its end and beyond, it holds all that is delivered.
            rows.is_whole &= from == 0 && batch.seq <= to;
        } else if (next_seq..batch.seq).any(|seq| !was_passed_over(log, seq)) {
            return Ok(None);
        }
        next_seq = batch.seq + 1;
        let reader = SegmentReader::open(store, &batch.object_key).await?;
        let is_asked = |seq: u64| seq > from && seq <= to;
        for row in reader.footer().rows().filter(|row| is_asked(row.batch_seq)) {
            let key = keys.key(named, row.resource_type, row.id);
            let row_of_log = LogRow {
                batch_seq: row.batch_seq,
                settle_seq: row.settle_seq,
                content_hash: (!row.is_tombstone()).then_some(row.content_hash),
            };
            let kept = rows.newest.entry(key).or_insert(row_of_log);
            if kept.batch_seq <= row.batch_seq {
                *kept = row_of_log;
            }
        }
    }
    let is_told = (next_seq..=to).all(|seq| was_passed_over(log, seq));
    Ok(is_told.then_some(rows))
}

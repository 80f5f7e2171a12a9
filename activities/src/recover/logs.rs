//! The logs of a restored database, with what was added to them since: batches
//! beyond the head it knows, and those that others it knows were merged into. All
//! of it was served by the source; the pull that follows finds what differs now.
//! Whether an object was committed does not matter for that.

use std::collections::{BTreeSet, HashSet};

use db::{BatchRow, MergeCommit};
use model::{BatchId, ConnectionId};
use records::{BatchRef, Error, Merge, Store, merge};

use super::RecoverError;
use super::scan::seq_of;

const MERGED: &str = ".merged.ndjson.zst";

/// The batches that a log is made of anew, if there are others than the catalogue
/// names. `there` are the names of its batches in the record store, `ahead` those
/// of them beyond its head that can be read.
pub(super) fn with_what_came_since(
    catalogue: &[BatchRow],
    there: &[String],
    ahead: &[String],
) -> Option<Vec<BatchRef>> {
    let found: HashSet<&str> = there.iter().map(String::as_str).collect();
    let (present, gone): (Vec<_>, Vec<_>) = catalogue
        .iter()
        .partition(|batch| found.contains(batch.object_key.as_str()));
    let merged_since = gone.iter().map(|batch| batch.seq).max().and_then(|last| {
        there
            .iter()
            .filter(|object| object.ends_with(MERGED))
            .filter_map(|object| Some((seq_of(object)?, object)))
            .filter(|(seq, _)| *seq >= last)
            .max()
    });
    if ahead.is_empty() && merged_since.is_none() {
        return None;
    }
    let refs: BTreeSet<BatchRef> = present
        .iter()
        .map(|batch| (batch.seq, &batch.object_key))
        .chain(merged_since)
        .chain(
            ahead
                .iter()
                .filter_map(|object| Some((seq_of(object)?, object))),
        )
        .map(|(seq, object)| BatchRef {
            seq,
            key: object.clone(),
        })
        .collect();
    Some(refs.into_iter().collect())
}

/// Writes a log anew, as one batch. None where a batch is damaged: then the log
/// stays as the database knows it.
pub(super) async fn write(
    store: &Store,
    connection: ConnectionId,
    batches: &[BatchRef],
) -> Result<Option<MergeCommit>, RecoverError> {
    let id = BatchId::new();
    let input = Merge {
        connection,
        batches,
        drop_tombstones_to: 0,
        batch: id,
    };
    let merged = match merge(store, input).await {
        Ok(merged) => merged,
        Err(Error::Corrupt { .. } | Error::Invalid { .. } | Error::NotFound { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let reader = records::SegmentReader::open(store, &merged.key).await?;
    let of_last = reader
        .footer()
        .rows()
        .filter(|row| row.batch_seq == merged.seq);
    let settle_seq = of_last.map(|row| row.settle_seq).max().unwrap_or(0);
    Ok(Some(MergeCommit {
        connection_id: connection,
        log_version: 0,
        id,
        seq: merged.seq,
        settle_seq,
        object_key: merged.key,
        index_key: merged.index_key,
        row_count: merged.row_count,
        deleted_count: merged.deleted_count,
        size_bytes: merged.size_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(seq: u64, ending: &str) -> String {
        format!(
            "connections/con/batches/{seq:012}-{}{ending}",
            BatchId::new()
        )
    }

    fn row(seq: u64, object_key: &str) -> BatchRow {
        BatchRow {
            seq,
            object_key: object_key.to_owned(),
            settle_seq: seq,
            row_count: 1,
            deleted_count: 0,
            size_bytes: 1,
        }
    }

    #[test]
    fn what_came_since_and_what_was_merged_is_found() {
        let plain: Vec<String> = (1..=4).map(|seq| object(seq, ".ndjson.zst")).collect();
        let catalogue = [row(1, &plain[0]), row(2, &plain[1])];
        let seqs = |refs: Option<Vec<BatchRef>>| -> Option<Vec<u64>> {
            refs.map(|refs| refs.iter().map(|batch| batch.seq).collect())
        };
        assert_eq!(with_what_came_since(&catalogue, &plain[..2], &[]), None);
        let refs = with_what_came_since(&catalogue, &plain, &plain[2..]);
        assert_eq!(seqs(refs), Some(vec![1, 2, 3, 4]));
        // Both were merged into the third, and a fourth came.
        let there = vec![object(3, MERGED), plain[3].clone(), object(1, MERGED)];
        let refs = with_what_came_since(&catalogue, &there, &there[..2]);
        assert_eq!(seqs(refs), Some(vec![3, 4]));
        // Merged without anything new.
        let refs = with_what_came_since(&catalogue, &[object(2, MERGED)], &[]);
        assert_eq!(seqs(refs), Some(vec![2]));
        // Gone, and nothing has it: `verify` says so.
        assert_eq!(with_what_came_since(&catalogue, &plain[..1], &[]), None);
    }
}

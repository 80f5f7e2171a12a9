//! `maintain.merge`: the batches of a long log become one, with the newest row of
//! each key. A log that is pulled or exported meanwhile loses nothing: the swap is
//! one transaction that a settle in between defeats, and what was merged away
//! stays for those who read it.

use std::time::{Duration, Instant};

use db::MergeCommit;
use model::{BatchId, ConnectionId};
use records::{BatchRef, Merge};
use steps::{MergeLogs, MergeReceipt};

use crate::failure::Failure;
use crate::maintain::CALL_MAX;
use crate::{Context, failpoint};

/// Logs looked up at once.
const LOGS_MAX: u32 = 200;
/// Times a log may move on under a merge before it is left to the next pass.
const LOG_MOVED_MAX: u32 = 3;
/// A merge that is not committed by then was stopped: somebody may have swept its
/// objects away.
const COMMIT_MAX: Duration = Duration::from_secs(15 * 60);

pub(crate) async fn run(context: &Context, input: &MergeLogs) -> Result<MergeReceipt, Failure> {
    let started = Instant::now();
    let rule = context.limits.maintain.merge;
    let logs = context
        .db
        .logs_to_merge(input.after, rule, LOGS_MAX)
        .await?;
    let mut receipt = MergeReceipt::default();
    for connection in &logs {
        match merge(context, *connection).await {
            Ok(Some((before, after))) => {
                receipt.logs += 1;
                receipt.batches += before.batches;
                receipt.bytes_before += before.bytes;
                receipt.bytes_after += after;
            }
            Ok(None) => {}
            // One log that cannot be merged must not keep the others.
            Err(failure) => {
                receipt.failed += 1;
                tracing::warn!(connection.id = %connection, "a log was not merged: {failure}");
            }
        }
        if started.elapsed() >= CALL_MAX {
            receipt.next = Some(*connection);
            return Ok(receipt);
        }
    }
    if logs.len() >= LOGS_MAX as usize {
        receipt.next = logs.last().copied();
    }
    Ok(receipt)
}

/// A log before it was merged.
struct Before {
    batches: u64,
    bytes: u64,
}

/// Merges one log; none if others kept being first.
async fn merge(
    context: &Context,
    connection: ConnectionId,
) -> Result<Option<(Before, u64)>, Failure> {
    for _ in 0..LOG_MOVED_MAX {
        // In this order: whatever changes the log after its version was read makes
        // the swap fail, and plans made after the tombstones were asked for reach
        // to this head at least.
        let head = context.db.log_head(connection).await?;
        let batches = context.db.batches(connection, 0, head.head_seq).await?;
        let drop_tombstones_to = context.db.tombstones_passed(connection).await?;
        let Some(last) = batches.last().filter(|_| batches.len() > 1) else {
            return Ok(None);
        };
        let before = Before {
            batches: batches.len() as u64,
            bytes: batches.iter().map(|batch| batch.size_bytes).sum(),
        };
        let refs: Vec<BatchRef> = batches
            .iter()
            .map(|batch| BatchRef {
                seq: batch.seq,
                key: batch.object_key.clone(),
            })
            .collect();
        let id = BatchId::new();
        let started = Instant::now();
        let merge = Merge {
            connection,
            batches: &refs,
            drop_tombstones_to,
            batch: id,
        };
        let merged = records::merge(&context.store, merge).await?;
        failpoint::pass("merge_commit.before").await?;
        if started.elapsed() >= COMMIT_MAX {
            return Err(Failure::retry("log_moved", "the merge took too long"));
        }
        let commit = MergeCommit {
            connection_id: connection,
            log_version: head.log_version,
            id,
            seq: merged.seq,
            settle_seq: last.settle_seq,
            object_key: merged.key,
            index_key: merged.index_key,
            row_count: merged.row_count,
            deleted_count: merged.deleted_count,
            size_bytes: merged.size_bytes,
        };
        match context.db.commit_merge(&commit).await {
            Ok(()) => {
                failpoint::pass("merge_commit.after").await?;
                return Ok(Some((before, merged.size_bytes)));
            }
            // Ours, under names of ours alone, and certainly not committed.
            Err(db::Error::LogMoved) => {
                context.store.delete(&commit.object_key).await?;
                context.store.delete(&commit.index_key).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

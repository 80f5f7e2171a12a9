//! `pull.settle`: compare what was staged with the connection's index, write one
//! batch of what is new or changed, and commit everything in one transaction.

use std::collections::BTreeMap;

use db::{NewBatch, PullType, RunKind, SettleCommit, StepClaim, StepRef};
use futures::TryStreamExt;
use model::{BatchId, ConnectionId, PullCounts, PullId, RunState, Timestamp, TypeOutcome};
use records::{BatchRef, Index, Numbers, Settle, Settled};
use steps::{PullStepReceipt, SettlePull, SettleReceipt, TypeProgress};

use crate::failure::Failure;
use crate::{Context, failpoint, settle_seq};

/// Times the log may move on under a settle before the step is tried again.
const LOG_MOVED_MAX: u32 = 5;

pub(crate) async fn run(context: &Context, input: &SettlePull) -> Result<SettleReceipt, Failure> {
    let step = StepRef {
        kind: RunKind::Pull,
        run_id: input.pull_id.to_string(),
        name: "settle".to_owned(),
    };
    let receipt = match context.db.claim_step(&step).await? {
        StepClaim::Done(receipt) => receipt,
        StepClaim::Mine {
            token,
            idle_attempts,
            ..
        } => {
            context.db.begin_settle(input.pull_id).await?;
            let settled = settle(context, input, &step, &token).await;
            settled.map_err(|failure| failure.within(idle_attempts))?
        }
    };
    drop_staging(context, input.connection_id, input.pull_id).await?;
    Ok(receipt)
}

async fn settle(
    context: &Context,
    input: &SettlePull,
    step: &StepRef,
    token: &str,
) -> Result<SettleReceipt, Failure> {
    let staging: Vec<String> = context
        .db
        .staging(input.pull_id)
        .await?
        .into_iter()
        .map(|object| object.object_key)
        .collect();
    let lines = coverage(context, input.pull_id).await?;
    for _ in 0..LOG_MOVED_MAX {
        let head = context.db.log_head(input.connection_id).await?;
        let settle_seq = settle_seq::reserve(&context.db, &context.store).await?;
        let batch = BatchId::new();
        let batch_seq = head.head_seq + 1;
        let settled = records::settle(
            &context.store,
            Settle {
                connection: input.connection_id,
                staging: &staging,
                index: index(
                    context,
                    input.connection_id,
                    head.head_seq,
                    head.index_key.as_deref(),
                )
                .await?,
                numbers: Numbers {
                    batch_seq,
                    settle_seq,
                },
                batch,
                deleted: Vec::new(),
                settled_at: Timestamp::now(),
            },
        )
        .await?;
        let (state, error_code) = end_of(&lines);
        let (types, counts) = sum_up(&lines, &settled);
        let batch = settled.batch.map(|object| NewBatch {
            id: batch,
            seq: batch_seq,
            object_key: object.key,
            index_key: object.index_key,
            row_count: object.row_count,
            deleted_count: object.deleted_count,
            size_bytes: object.size_bytes,
        });
        let receipt = SettleReceipt {
            state,
            counts,
            batch_seq: batch.as_ref().map(|batch| batch.seq),
        };
        let commit = SettleCommit {
            connection_id: input.connection_id,
            pull_id: input.pull_id,
            step,
            token,
            log_version: head.log_version,
            settle_seq,
            batch,
            types,
            counts,
            state,
            error_code,
            receipt: &receipt,
        };
        failpoint::pass("settle_commit.before").await?;
        match context.db.commit_settle(&commit).await {
            Ok(()) => {
                failpoint::pass("settle_commit.after").await?;
                return Ok(receipt);
            }
            // Somebody settled first: read again, compare again.
            Err(db::Error::LogMoved) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::retry(
        "log_moved",
        "the connection's log keeps moving on",
    ))
}

/// The connection's index; rebuilt from the footers where it is missing or wrong.
async fn index(
    context: &Context,
    connection: ConnectionId,
    head_seq: u64,
    key: Option<&str>,
) -> Result<Option<Index>, Failure> {
    if head_seq == 0 {
        return Ok(None);
    }
    if let Some(key) = key {
        match Index::load(&context.store, key).await {
            Ok(index) if index.last_seq() == head_seq => return Ok(Some(index)),
            Ok(_) | Err(records::Error::NotFound { .. } | records::Error::Corrupt { .. }) => {
                tracing::warn!(connection.id = %connection, "the index cannot be used and is rebuilt");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let batches = context.db.batches(connection, 0, head_seq).await?;
    let batches: Vec<BatchRef> = batches
        .into_iter()
        .map(|batch| BatchRef {
            seq: batch.seq,
            key: batch.object_key,
        })
        .collect();
    Ok(Some(Index::rebuild(&context.store, &batches).await?))
}

/// The lines of all finished steps, by type. A type that two steps met (by
/// search and by reference) has one line.
async fn coverage(
    context: &Context,
    pull: PullId,
) -> Result<BTreeMap<String, TypeProgress>, Failure> {
    let run_id = pull.to_string();
    let mut receipts: Vec<(String, PullStepReceipt)> =
        context.db.step_receipts(&run_id, "pages-").await?;
    receipts.extend(context.db.step_receipts(&run_id, "references").await?);
    let mut lines: BTreeMap<String, TypeProgress> = BTreeMap::new();
    for line in receipts.into_iter().flat_map(|(_, receipt)| receipt.types) {
        match lines.get_mut(&line.resource_type) {
            None => {
                lines.insert(line.resource_type.clone(), line);
            }
            Some(known) => {
                known.pages += line.pages;
                known.fetched += line.fetched;
                known.ignored += line.ignored;
                known.rejected += line.rejected;
                if known.outcome == Some(TypeOutcome::Complete) {
                    known.outcome = line.outcome;
                    known.error_code = line.error_code;
                }
            }
        }
    }
    Ok(lines)
}

/// How the pull ends: completed only if every type was had whole.
fn end_of(lines: &BTreeMap<String, TypeProgress>) -> (RunState, Option<&'static str>) {
    let complete = |line: &TypeProgress| line.outcome == Some(TypeOutcome::Complete);
    if lines.values().all(complete) {
        (RunState::Completed, None)
    } else {
        (RunState::Partial, Some("types_incomplete"))
    }
}

/// The coverage with true counts, and their sum.
fn sum_up(
    lines: &BTreeMap<String, TypeProgress>,
    settled: &Settled,
) -> (BTreeMap<String, PullType>, PullCounts) {
    let mut types: BTreeMap<String, PullType> = BTreeMap::new();
    for name in lines.keys().chain(settled.counts_by_type.keys()) {
        let line = lines.get(name);
        let mut counts = settled
            .counts_by_type
            .get(name)
            .copied()
            .unwrap_or_default();
        counts.ignored += line.map_or(0, |line| line.ignored);
        counts.rejected += line.map_or(0, |line| line.rejected);
        counts.fetched += line.map_or(0, |line| line.ignored + line.rejected);
        let of = PullType {
            resource_type: name.clone(),
            // A type that came only as an include was not asked for.
            outcome: line
                .and_then(|line| line.outcome)
                .unwrap_or(TypeOutcome::Complete),
            error_code: line.and_then(|line| line.error_code.clone()),
            pages: line.map_or(0, |line| line.pages),
            counts,
        };
        types.insert(name.clone(), of);
    }
    let mut counts = PullCounts::default();
    for of in types.values() {
        counts += of.counts;
    }
    (types, counts)
}

/// Removes the staging of a pull that has ended, left-overs of cut-off attempts
/// included.
pub(crate) async fn drop_staging(
    context: &Context,
    connection: ConnectionId,
    pull: PullId,
) -> Result<(), Failure> {
    let prefix = format!("connections/{connection}/staging/{pull}");
    let objects: Vec<_> = context.store.list(&prefix).try_collect().await?;
    for object in objects {
        context.store.delete(&object.object).await?;
    }
    Ok(())
}

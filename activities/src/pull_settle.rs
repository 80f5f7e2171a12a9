//! `pull.settle`: compare what was staged with the connection's index, write one
//! batch of what is new, changed or gone, and commit everything in one transaction.

use std::collections::BTreeMap;

use db::{BatchRow, HeldChange, LogHead, NewBatch, NewHold, SettleCommit, StepRef};
use futures::TryStreamExt;
use model::{BatchId, ConnectionId, PullId, PullKind, Timestamp};
use records::{BatchRef, Index, Numbers, Settle};
use steps::{HeldReceipt, SettlePull, SettleReceipt};

use crate::failure::Failure;
use crate::pull_coverage::{Coverage, coverage, end_of, sum_up};
use crate::step::{of_pull, once};
use crate::{Context, failpoint, pull_watermarks, settle_seq};

/// Times the log may move on under a settle before the step is tried again.
const LOG_MOVED_MAX: u32 = 5;

pub(crate) async fn run(context: &Context, input: &SettlePull) -> Result<SettleReceipt, Failure> {
    let step = of_pull(input.pull_id, "settle");
    let receipt = once(context, step, |claimed| async move {
        context.db.begin_settle(input.pull_id).await?;
        settle(context, input, &claimed.step, &claimed.token).await
    })
    .await?;
    drop_staging(context, input.connection_id, input.pull_id).await?;
    Ok(receipt)
}

/// What a pull has to settle.
#[derive(Default)]
struct Gathered {
    staging: Vec<String>,
    coverage: Coverage,
    /// The newest change that is had of each type.
    had_to: BTreeMap<String, Timestamp>,
}

/// What was fetched; of a pull that settles accepted deletions, these.
async fn gather(
    context: &Context,
    input: &SettlePull,
    kind: PullKind,
) -> Result<Gathered, Failure> {
    if kind == PullKind::AcceptDeletes {
        let accepted = context.db.accepted_deletes(input.pull_id).await?;
        let accepted = accepted.ok_or_else(|| {
            Failure::last(
                "deletes_replaced",
                "another pull has looked again since these deletions were accepted",
            )
        })?;
        return Ok(Gathered {
            staging: vec![accepted.object_key],
            ..Gathered::default()
        });
    }
    let staging = context.db.staging(input.pull_id).await?;
    Ok(Gathered {
        staging: staging.into_iter().map(|row| row.object_key).collect(),
        coverage: coverage(&context.db, input.pull_id).await?,
        had_to: pull_watermarks::had_to(&context.db, input.pull_id).await?,
    })
}

async fn settle(
    context: &Context,
    input: &SettlePull,
    step: &StepRef,
    token: &str,
) -> Result<SettleReceipt, Failure> {
    let kind = context.db.pull(input.pull_id).await?.kind;
    let Gathered {
        staging,
        coverage,
        had_to,
    } = gather(context, input, kind).await?;
    let (lines, held) = (&coverage.lines, coverage.held.as_ref());
    for _ in 0..LOG_MOVED_MAX {
        let head = context.db.log_head(input.connection_id).await?;
        let log = match coverage.has_masked() {
            true => Some(log(context, input.connection_id, head.head_seq).await?),
            false => None,
        };
        let settle_seq = settle_seq::reserve(&context.db, &context.store).await?;
        let batch = BatchId::new();
        let batch_seq = head.head_seq + 1;
        let settled = records::settle(
            &context.store,
            Settle {
                connection: input.connection_id,
                staging: &staging,
                index: index(context, input.connection_id, &head).await?,
                log: log.as_deref(),
                numbers: Numbers {
                    batch_seq,
                    settle_seq,
                },
                batch,
            },
        )
        .await?;
        let (state, error_code) = end_of(&coverage);
        let (types, counts) = sum_up(lines, &settled);
        let watermarks = pull_watermarks::changes(lines, &had_to, &settled, coverage.follows_all);
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
            attachments: coverage.attachments,
            state,
            watermarks,
            held: held_change(kind, held, head.head_seq),
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

/// The connection's index as it stands; an empty one where its log is.
pub(crate) async fn log_index(
    context: &Context,
    connection: ConnectionId,
) -> Result<Index, Failure> {
    let head = context.db.log_head(connection).await?;
    Ok(index(context, connection, &head).await?.unwrap_or_default())
}

/// The connection's index; rebuilt from the footers where it is missing or wrong.
async fn index(
    context: &Context,
    connection: ConnectionId,
    head: &LogHead,
) -> Result<Option<Index>, Failure> {
    let head_seq = head.head_seq;
    if head_seq == 0 {
        return Ok(None);
    }
    if let Some(key) = &head.index_key {
        match Index::load(&context.store, key).await {
            Ok(index) if index.last_seq() == head_seq => return Ok(Some(index)),
            Ok(_) | Err(records::Error::NotFound { .. } | records::Error::Corrupt { .. }) => {
                tracing::warn!(connection.id = %connection, "the index cannot be used and is rebuilt");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let batches = log(context, connection, head_seq).await?;
    Ok(Some(Index::rebuild(&context.store, &batches).await?))
}

/// The batches of a connection's log.
async fn log(
    context: &Context,
    connection: ConnectionId,
    head_seq: u64,
) -> Result<Vec<BatchRef>, Failure> {
    let batches = context.db.batches(connection, 0, head_seq).await?;
    let refer = |batch: BatchRow| BatchRef {
        seq: batch.seq,
        key: batch.object_key,
    };
    Ok(batches.into_iter().map(refer).collect())
}

fn held_change(kind: PullKind, held: Option<&HeldReceipt>, head_seq: u64) -> HeldChange {
    match kind {
        PullKind::AcceptDeletes => HeldChange::Settle,
        PullKind::Fetch => HeldChange::Replace(held.map(|held| NewHold {
            object_key: held.object_key.clone(),
            types: held.types.clone(),
            head_seq,
        })),
    }
}

/// Removes the staging of a pull that has ended and held deletions that nobody
/// waits for any more, left-overs of cut-off attempts included.
pub(crate) async fn drop_staging(
    context: &Context,
    connection: ConnectionId,
    pull: PullId,
) -> Result<(), Failure> {
    let prefix = format!("connections/{connection}/staging/{pull}");
    let mut objects: Vec<_> = context.store.list(&prefix).try_collect().await?;
    let wanted = context.db.wanted_held_objects(connection).await?;
    let held = context
        .store
        .list(&format!("connections/{connection}/held"));
    let held: Vec<_> = held.try_collect().await?;
    objects.extend(
        held.into_iter()
            .filter(|object| !wanted.contains(&object.object)),
    );
    for object in objects {
        context.store.delete(&object.object).await?;
    }
    Ok(())
}

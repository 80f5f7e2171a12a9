//! Settling: the one transaction that makes a pull's changes count.

use std::collections::BTreeMap;

use model::{AttachmentCounts, BatchId, ConnectionId, PullCounts, PullId, RunState, Timestamp};
use serde::Serialize;

use crate::call::Tx;
use crate::events::insert_event;
use crate::held::{HeldChange, change_held};
use crate::logs::supersede_index;
use crate::pulls::{PullType, insert_types};
use crate::row::{bigint, json};
use crate::steps::finish_step;
use crate::{Db, Error, Result, StepRef, WatermarkChange, lock, type_watermarks};

/// The batch a settle wrote.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its id.
    pub id: BatchId,
    /// Its number: the head before, and one.
    pub seq: u64,
    /// Its name in the record store.
    pub object_key: String,
    /// The index after it.
    pub index_key: String,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// Tombstones.
    pub deleted_count: u64,
    /// Size of the object.
    pub size_bytes: u64,
}

/// Everything a settle makes true at once.
#[derive(Debug)]
pub struct SettleCommit<'a, R> {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The pull.
    pub pull_id: PullId,
    /// The settle step and its token.
    pub step: &'a StepRef,
    /// The fence.
    pub token: &'a str,
    /// The log as it was read.
    pub log_version: u64,
    /// The settle number.
    pub settle_seq: u64,
    /// The batch; none where nothing changed.
    pub batch: Option<NewBatch>,
    /// The coverage.
    pub types: BTreeMap<String, PullType>,
    /// The sum of the coverage.
    pub counts: PullCounts,
    /// What became of attachments; none where they were not looked for.
    pub attachments: Option<AttachmentCounts>,
    /// How the pull ends.
    pub state: RunState,
    /// How far the types have come that were asked for.
    pub watermarks: BTreeMap<String, WatermarkChange>,
    /// What happens to held deletions.
    pub held: HeldChange,
    /// Why not everything was had.
    pub error_code: Option<&'a str>,
    /// What the step answers.
    pub receipt: &'a R,
}

impl Db {
    /// Moves a pull into its last phase, in which no page is saved any more.
    ///
    /// # Errors
    /// [`Error::Lost`] if the pull has ended.
    pub async fn begin_settle(&self, pull: PullId) -> Result<()> {
        let moved = sqlx::query("UPDATE pulls SET phase = 'committing', updated_at = $1 WHERE id = $2 AND state = 'running'")
            .bind(Timestamp::now().0)
            .bind(pull.to_string())
            .execute(&self.writer)
            .await?;
        if moved.rows_affected() == 0 {
            Err(Error::Lost)
        } else {
            Ok(())
        }
    }

    /// Makes a settle count: batch, head, coverage, marks of what every
    /// destination now lacks, event and the pull's end, or nothing at all.
    ///
    /// # Errors
    /// [`Error::LogMoved`] if the log is no longer as it was read;
    /// [`Error::Lost`] if another attempt holds the step.
    pub async fn commit_settle<R: Serialize + Sync>(
        &self,
        commit: &SettleCommit<'_, R>,
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, commit.connection_id).await?;
        finish_step(&mut tx, commit.step, commit.token, commit.receipt).await?;
        if let Some(batch) = &commit.batch {
            insert_batch(&mut tx, commit, batch, now).await?;
        }
        let ended = sqlx::query(
            "UPDATE pulls SET state = $1, phase = 'done', settle_seq = $2, batch_seq = $3, counts = $4, pages = $5, \
             error_code = $6, finished_at = $7, updated_at = $7, attachments = $8 \
             WHERE id = $9 AND state = 'running' AND phase = 'committing'",
        )
        .bind(commit.state.as_str())
        .bind(bigint(commit.settle_seq))
        .bind(commit.batch.as_ref().map(|batch| bigint(batch.seq)))
        .bind(json(&commit.counts))
        .bind(bigint(commit.types.values().map(|of| of.pages).sum()))
        .bind(commit.error_code)
        .bind(now.0)
        .bind(commit.attachments.as_ref().map(json))
        .bind(commit.pull_id.to_string())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() == 0 {
            return Err(Error::Lost);
        }
        insert_types(&mut tx, commit.pull_id, &commit.types).await?;
        type_watermarks::change(&mut tx, commit.connection_id, &commit.watermarks, now).await?;
        change_held(&mut tx, commit.connection_id, commit.pull_id, &commit.held).await?;
        sqlx::query("UPDATE connections SET pull_failures = 0, pull_not_before = 0 WHERE id = $1")
            .bind(commit.connection_id.to_string())
            .execute(&mut *tx)
            .await?;
        let body = serde_json::json!({
            "connection_id": commit.connection_id, "state": commit.state, "counts": commit.counts,
        });
        insert_event(&mut tx, "pull.finished", &commit.pull_id.to_string(), &body).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn insert_batch<R>(
    tx: &mut Tx<'_>,
    commit: &SettleCommit<'_, R>,
    batch: &NewBatch,
    now: Timestamp,
) -> Result<()> {
    let connection = commit.connection_id.to_string();
    supersede_index(tx, &connection, now).await?;
    let moved = sqlx::query(
        "UPDATE connections SET head_seq = $1, index_key = $2, log_version = log_version + 1 \
         WHERE id = $3 AND log_version = $4",
    )
    .bind(bigint(batch.seq))
    .bind(&batch.index_key)
    .bind(&connection)
    .bind(bigint(commit.log_version))
    .execute(&mut **tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Err(Error::LogMoved);
    }
    sqlx::query(
        "INSERT INTO batches (connection_id, seq, id, object_key, pull_id, settle_seq, row_count, deleted_count, \
         size_bytes, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&connection)
    .bind(bigint(batch.seq))
    .bind(batch.id.to_string())
    .bind(&batch.object_key)
    .bind(commit.pull_id.to_string())
    .bind(bigint(commit.settle_seq))
    .bind(bigint(batch.row_count))
    .bind(bigint(batch.deleted_count))
    .bind(bigint(batch.size_bytes))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    // Disabled destinations lack it too: they catch up when they are enabled. A mark
    // that stands is locked: a publication that is being taken over may not clear it.
    sqlx::query(
        "INSERT INTO marks (destination_id, connection_id, since) SELECT id, $1, $2 FROM destinations WHERE true \
         ORDER BY id ON CONFLICT (destination_id, connection_id) DO UPDATE SET since = marks.since",
    )
    .bind(&connection)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO pending_triggers (destination_id, reason, count, first_at) \
         SELECT id, 'pull_completed', 1, $1 FROM destinations WHERE true ORDER BY id \
         ON CONFLICT (destination_id, reason) DO UPDATE SET count = pending_triggers.count + 1",
    )
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

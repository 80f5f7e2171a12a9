//! Settling: the one transaction that makes a pull's changes count.

use std::collections::BTreeMap;

use model::{AttachmentCounts, BatchId, ConnectionId, PullCounts, PullId, RunState, Timestamp};
use serde::Serialize;

use crate::held::{HeldChange, change_held};
use crate::pulls::{PullType, insert_types};
use crate::row::{Columns, bigint, json};
use crate::steps::finish_step;
use crate::{Db, Error, Result, StepRef, WatermarkChange, lock, type_watermarks};

/// Where a connection's log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// What a commit compares and swaps.
    pub log_version: u64,
    /// The number of the last batch; 0 before the first.
    pub head_seq: u64,
    /// The index after that batch.
    pub index_key: Option<String>,
}

/// A batch of a connection's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its number.
    pub seq: u64,
    /// Its name in the record store.
    pub object_key: String,
    /// Its settle number.
    pub settle_seq: u64,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// Tombstones.
    pub deleted_count: u64,
    /// Size of the object.
    pub size_bytes: u64,
}

/// A staging object, in the order of saving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingRow {
    /// Its name in the record store.
    pub object_key: String,
    /// Rows in it.
    pub row_count: u64,
}

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

    /// Where a connection's log stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn log_head(&self, connection: ConnectionId) -> Result<LogHead> {
        let row =
            sqlx::query("SELECT log_version, head_seq, index_key FROM connections WHERE id = $1")
                .bind(connection.to_string())
                .fetch_optional(&self.writer)
                .await?
                .ok_or_else(|| Error::NotFound {
                    noun: "connection",
                    id: connection.to_string(),
                })?;
        Ok(LogHead {
            log_version: row.count("log_version")?,
            head_seq: row.count("head_seq")?,
            index_key: row.raw("index_key")?,
        })
    }

    /// The batches of a connection that hold the rows `(from, to]`, in order: those
    /// of these numbers and, where `to` was merged into a later one, that one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn batches(
        &self,
        connection: ConnectionId,
        from: u64,
        to: u64,
    ) -> Result<Vec<BatchRow>> {
        let rows = sqlx::query(
            "SELECT seq, object_key, settle_seq, row_count, deleted_count, size_bytes FROM batches \
             WHERE connection_id = $1 AND seq > $2 AND seq <= COALESCE((SELECT MIN(covering.seq) FROM batches AS covering \
             WHERE covering.connection_id = $1 AND covering.seq >= $3), $3) ORDER BY seq",
        )
        .bind(connection.to_string())
        .bind(bigint(from))
        .bind(bigint(to))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(BatchRow {
                    seq: row.count("seq")?,
                    object_key: row.text("object_key")?,
                    settle_seq: row.count("settle_seq")?,
                    row_count: row.count("row_count")?,
                    deleted_count: row.count("deleted_count")?,
                    size_bytes: row.count("size_bytes")?,
                })
            })
            .collect()
    }

    /// The staging objects of a pull, in the order of saving.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn staging(&self, pull: PullId) -> Result<Vec<StagingRow>> {
        let rows = sqlx::query(
            "SELECT object_key, row_count FROM staging_objects WHERE pull_id = $1 ORDER BY saved_at, step, ordinal",
        )
        .bind(pull.to_string())
        .fetch_all(&self.writer)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StagingRow {
                    object_key: row.text("object_key")?,
                    row_count: row.count("row_count")?,
                })
            })
            .collect()
    }

    /// The receipts of a pull's finished steps, by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one is not an `R`.
    pub async fn step_receipts<R: serde::de::DeserializeOwned>(
        &self,
        run_id: &str,
        prefix: &str,
    ) -> Result<Vec<(String, R)>> {
        let rows = sqlx::query(
            "SELECT name, receipt FROM steps WHERE run_id = $1 AND state = 'done' ORDER BY name",
        )
        .bind(run_id)
        .fetch_all(&self.writer)
        .await?;
        let mut found = Vec::new();
        for row in &rows {
            let name = row.text("name")?;
            if name.starts_with(prefix) {
                found.push((name, row.json("receipt")?));
            }
        }
        Ok(found)
    }

    /// The next settle number, or `None` when the reserved block is used up.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn next_settle_seq(&self) -> Result<Option<u64>> {
        let row = sqlx::query(
            "UPDATE counters SET value = value + 1 WHERE name = 'settle_seq' AND value < block_end RETURNING value",
        )
        .fetch_optional(&self.writer)
        .await?;
        row.map(|row| row.count("value")).transpose()
    }

    /// The end of the block of settle numbers that the database knows of.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn settle_block_end(&self) -> Result<u64> {
        let row = sqlx::query("SELECT block_end FROM counters WHERE name = 'settle_seq'")
            .fetch_one(&self.writer)
            .await?;
        row.count("block_end")
    }

    /// Opens the next block, once its end is written to the record store; what is
    /// left of the block before is passed over. Somebody else having opened it is
    /// as good.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn open_settle_block(&self, old_end: u64, new_end: u64) -> Result<()> {
        sqlx::query(
            "UPDATE counters SET value = block_end, block_end = $1 WHERE name = 'settle_seq' AND block_end = $2",
        )
        .bind(bigint(new_end))
        .bind(bigint(old_end))
        .execute(&self.writer)
        .await?;
        Ok(())
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
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
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

/// Notes that a connection's index is about to be replaced: it stays a while for
/// the plans that have pinned it.
pub(crate) async fn supersede_index(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO superseded_objects (object_key, connection_id, superseded_at) SELECT index_key, id, $1 \
         FROM connections WHERE id = $2 AND index_key IS NOT NULL ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(now.0)
    .bind(connection)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An event, in the transaction of the change it tells of.
pub(crate) async fn insert_event(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    kind: &str,
    subject: &str,
    body: &serde_json::Value,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO events (id, type, subject_id, body, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(model::EventId::new().to_string())
    .bind(kind)
    .bind(subject)
    .bind(body.to_string())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

//! Upkeep of the logs: which are to be merged, the swap of a merged batch, and
//! what of the record store is named by a row.

use std::collections::HashSet;

use model::{BatchId, ConnectionId, PullId, RunState, Timestamp};

use crate::attachments::piece_names;
use crate::held::IS_UNSETTLED;
use crate::logs::supersede_index;
use crate::row::{Columns, bigint};
use crate::{Db, Error, Result, lock};

/// When a log is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRule {
    /// With so many batches.
    pub batches_min: u64,
    /// Or above this percentage of what is estimated to be live in it.
    pub log_percent_max: u64,
}

/// A merged batch that takes the place of all batches of a log.
#[derive(Debug, Clone)]
pub struct MergeCommit {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The log as it was read.
    pub log_version: u64,
    /// The batch's id.
    pub id: BatchId,
    /// The number of the last batch in it.
    pub seq: u64,
    /// The settle number of that batch.
    pub settle_seq: u64,
    /// Its name in the record store.
    pub object_key: String,
    /// The index over it.
    pub index_key: String,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// Tombstones.
    pub deleted_count: u64,
    /// Size of the object.
    pub size_bytes: u64,
}

impl Db {
    /// The connections after `after` whose logs are to be merged, by id, at most
    /// `limit`. What is live is estimated: the rows of the first batch, less all
    /// that was deleted, at that batch's size a row.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn logs_to_merge(
        &self,
        after: Option<ConnectionId>,
        rule: MergeRule,
        limit: u32,
    ) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(
            "SELECT log.connection_id AS id FROM (SELECT connection_id, COUNT(*) AS batch_count, \
             SUM(size_bytes) AS size_bytes, SUM(deleted_count) AS deleted_count, MIN(seq) AS first_seq FROM batches \
             WHERE connection_id > $1 GROUP BY connection_id HAVING COUNT(*) > 1) AS log \
             JOIN batches AS base ON base.connection_id = log.connection_id AND base.seq = log.first_seq \
             WHERE log.batch_count >= $2 OR log.size_bytes * base.row_count * 100 > $3 * base.size_bytes * \
             CASE WHEN base.row_count > log.deleted_count THEN base.row_count - log.deleted_count ELSE 0 END \
             ORDER BY log.connection_id LIMIT $4",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(bigint(rule.batches_min))
        .bind(bigint(rule.log_percent_max))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| row.word("id")).collect()
    }

    /// Up to which batch nobody needs a connection's tombstones any more: every
    /// destination that was told of its resources has passed them, or will with
    /// the plan it has. A destination that has nothing of the connection begins
    /// with what is live; one that is sent everything again may hold what went
    /// since, so it needs them all until it has caught up. To be asked after the
    /// log's version was read: plans made later reach at least to that head.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn tombstones_passed(&self, connection: ConnectionId) -> Result<u64> {
        let row = sqlx::query(
            "SELECT MIN(told.seq) AS seq FROM (SELECT CASE WHEN watermarks.epoch = destinations.epoch \
             THEN watermarks.seq ELSE 0 END AS seq FROM watermarks JOIN destinations \
             ON destinations.id = watermarks.destination_id WHERE watermarks.connection_id = $1 AND watermarks.seq > 0 \
             UNION ALL SELECT export_spans.to_seq AS seq FROM export_spans JOIN exports \
             ON exports.id = export_spans.export_id JOIN destinations ON destinations.id = exports.destination_id \
             WHERE export_spans.connection_id = $1 AND (exports.state IN ('queued', 'running') \
             OR (exports.error_code = 'publish_undecided' AND exports.plan_number > destinations.last_publication))) \
             AS told",
        )
        .bind(connection.to_string())
        .fetch_one(&self.writer)
        .await?;
        Ok(row
            .optional_count("seq")?
            .unwrap_or_else(|| i64::MAX.unsigned_abs()))
    }

    /// Puts a merged batch into the place of all batches of a log, which stay a
    /// while for those who read them.
    ///
    /// # Errors
    /// [`Error::LogMoved`] if the log is no longer as it was read.
    pub async fn commit_merge(&self, merge: &MergeCommit) -> Result<()> {
        let (now, connection) = (Timestamp::now(), merge.connection_id.to_string());
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, merge.connection_id).await?;
        supersede_index(&mut tx, &connection, now).await?;
        let moved = sqlx::query(
            "UPDATE connections SET index_key = $1, log_version = log_version + 1 WHERE id = $2 AND log_version = $3",
        )
        .bind(&merge.index_key)
        .bind(&connection)
        .bind(bigint(merge.log_version))
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 0 {
            return Err(Error::LogMoved);
        }
        sqlx::query(
            "INSERT INTO superseded_objects (object_key, connection_id, superseded_at) SELECT object_key, connection_id, $1 \
             FROM batches WHERE connection_id = $2 ON CONFLICT (object_key) DO NOTHING",
        )
        .bind(now.0)
        .bind(&connection)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM batches WHERE connection_id = $1")
            .bind(&connection)
            .execute(&mut *tx)
            .await?;
        insert_merged(&mut tx, merge, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Superseded objects of before `before` that no open plan has pinned, oldest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn superseded_objects(&self, before: Timestamp, limit: u32) -> Result<Vec<String>> {
        let rows = sqlx::query(
            "SELECT object_key FROM superseded_objects WHERE superseded_at <= $1 AND NOT EXISTS (SELECT 1 FROM exports \
             JOIN export_spans ON export_spans.export_id = exports.id WHERE exports.state IN ('queued', 'running') \
             AND export_spans.connection_id = superseded_objects.connection_id \
             AND export_spans.index_key = superseded_objects.object_key) ORDER BY superseded_at LIMIT $2",
        )
        .bind(before.0)
        .bind(i64::from(limit))
        .fetch_all(&self.writer)
        .await?;
        rows.iter().map(|row| row.text("object_key")).collect()
    }

    /// Forgets a superseded object that was removed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn forget_superseded(&self, object: &str) -> Result<()> {
        sqlx::query("DELETE FROM superseded_objects WHERE object_key = $1")
            .bind(object)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Whether this database has the connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn has_connection(&self, connection: ConnectionId) -> Result<bool> {
        let row = sqlx::query("SELECT 1 AS one FROM connections WHERE id = $1")
            .bind(connection.to_string())
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.is_some())
    }

    /// Whether a pull of the connection is queued or running.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn has_open_pull(&self, connection: ConnectionId) -> Result<bool> {
        let row = sqlx::query(
            "SELECT 1 AS one FROM pulls WHERE connection_id = $1 AND state IN ('queued', 'running') LIMIT 1",
        )
        .bind(connection.to_string())
        .fetch_optional(&self.writer)
        .await?;
        Ok(row.is_some())
    }

    /// How a pull of the connection stands; none where there is no such pull.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn state_of_pull(
        &self,
        connection: ConnectionId,
        pull: PullId,
    ) -> Result<Option<RunState>> {
        let row = sqlx::query("SELECT state FROM pulls WHERE connection_id = $1 AND id = $2")
            .bind(connection.to_string())
            .bind(pull.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.map(|row| row.word("state")).transpose()
    }

    /// Every object of a connection's log that a row names: batches, the index,
    /// those superseded and the indexes that open plans have pinned; the held
    /// deletions that wait for a decision or for the pull that settles them; and the
    /// pieces of attachments.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn named_objects(&self, connection: ConnectionId) -> Result<HashSet<String>> {
        let text = format!(
            "SELECT object_key AS name FROM batches WHERE connection_id = $1 \
             UNION SELECT index_key AS name FROM connections WHERE id = $1 AND index_key IS NOT NULL \
             UNION SELECT object_key AS name FROM superseded_objects WHERE connection_id = $1 \
             UNION SELECT export_spans.index_key AS name FROM export_spans JOIN exports \
             ON exports.id = export_spans.export_id WHERE export_spans.connection_id = $1 \
             AND export_spans.index_key IS NOT NULL AND exports.state IN ('queued', 'running') \
             UNION SELECT object_key AS name FROM held_deletes WHERE connection_id = $1 AND {IS_UNSETTLED}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.to_string())
            .fetch_all(&self.writer)
            .await?;
        let mut named: HashSet<String> = rows
            .iter()
            .map(|row| row.text("name"))
            .collect::<Result<_>>()?;
        named.extend(piece_names(&self.writer, connection).await?);
        Ok(named)
    }
}

/// The catalogue's row of a merged batch; it is no pull's.
pub(crate) async fn insert_merged(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    merge: &MergeCommit,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO batches (connection_id, seq, id, object_key, pull_id, settle_seq, row_count, deleted_count, \
         size_bytes, created_at) VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8, $9)",
    )
    .bind(merge.connection_id.to_string())
    .bind(bigint(merge.seq))
    .bind(merge.id.to_string())
    .bind(&merge.object_key)
    .bind(bigint(merge.settle_seq))
    .bind(bigint(merge.row_count))
    .bind(bigint(merge.deleted_count))
    .bind(bigint(merge.size_bytes))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

//! Logs of connections as they stand at one moment, and the names that count in
//! the record store.

use std::collections::HashSet;

use model::{ConnectionId, PullCounts, PullId, RunState};

use crate::attachments::piece_names;
use crate::row::Columns;
use crate::{Db, LogJump, Result};

/// The log of a connection at one moment.
#[derive(Debug, Clone)]
pub struct LogState {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Another one means that the log has changed since.
    pub log_version: u64,
    /// The number of its last batch.
    pub head_seq: u64,
    /// Its index at that head.
    pub index_key: Option<String>,
    /// Its batches, in order.
    pub batches: Vec<LoggedBatch>,
    /// Numbers that were passed over, in order.
    pub jumps: Vec<LogJump>,
}

/// A batch of a log, with the counts of the pull that wrote it.
#[derive(Debug, Clone)]
pub struct LoggedBatch {
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
    /// What the pull that settled it counts, while that pull is known.
    pub pull_counts: Option<PullCounts>,
}

/// Deletions that wait for a decision.
#[derive(Debug, Clone)]
pub struct HeldObject {
    /// The pull that found them.
    pub pull_id: PullId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Where they are kept.
    pub object_key: String,
    /// How many there are.
    pub row_count: u64,
}

/// What is known of a connection's objects in the record store.
#[derive(Debug, Clone)]
pub struct StoredNames {
    /// The number of its last batch.
    pub head_seq: u64,
    /// The objects that a row names, those that were superseded included.
    pub named: HashSet<String>,
    /// Its pulls that have not ended.
    pub open_pulls: HashSet<PullId>,
}

impl Db {
    /// The connections after `after`, by id, at most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn connection_ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query("SELECT id FROM connections WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(|row| row.word("id")).collect()
    }

    /// The log of a connection; none where there is no such connection. Head and
    /// catalogue are of one moment.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn log_state(&self, connection: ConnectionId) -> Result<Option<LogState>> {
        let rows = sqlx::query(
            "SELECT connections.log_version AS log_version, connections.head_seq AS head_seq, \
             connections.index_key AS index_key, batches.seq AS seq, batches.object_key AS object_key, \
             batches.settle_seq AS settle_seq, batches.row_count AS row_count, \
             batches.deleted_count AS deleted_count, batches.size_bytes AS size_bytes, pulls.counts AS counts \
             FROM connections LEFT JOIN batches ON batches.connection_id = connections.id \
             LEFT JOIN pulls ON pulls.id = batches.pull_id AND pulls.batch_seq = batches.seq \
             WHERE connections.id = $1 ORDER BY batches.seq",
        )
        .bind(connection.to_string())
        .fetch_all(&self.reader)
        .await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let mut log = LogState {
            connection_id: connection,
            log_version: first.count("log_version")?,
            head_seq: first.count("head_seq")?,
            index_key: first.raw("index_key")?,
            batches: Vec::with_capacity(rows.len()),
            jumps: self.log_jumps(connection).await?,
        };
        for row in &rows {
            // A log without batches is one row without a batch.
            let Some(seq) = row.optional_count("seq")? else {
                continue;
            };
            let counts: Option<String> = row.raw("counts")?;
            log.batches.push(LoggedBatch {
                seq,
                object_key: row.text("object_key")?,
                settle_seq: row.count("settle_seq")?,
                row_count: row.count("row_count")?,
                deleted_count: row.count("deleted_count")?,
                size_bytes: row.count("size_bytes")?,
                pull_counts: counts.is_some().then(|| row.json("counts")).transpose()?,
            });
        }
        Ok(Some(log))
    }

    /// The version of a connection's log; see [`LogState::log_version`].
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn log_version(&self, connection: ConnectionId) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT log_version FROM connections WHERE id = $1")
            .bind(connection.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| row.count("log_version")).transpose()
    }

    /// What is known of a connection's objects; none where there is no such
    /// connection.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn stored_names(&self, connection: ConnectionId) -> Result<Option<StoredNames>> {
        let id = connection.to_string();
        let pulls = sqlx::query(
            "SELECT id FROM pulls WHERE connection_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(&id)
        .fetch_all(&self.reader)
        .await?;
        let open_pulls = pulls.iter().map(|row| row.word("id"));
        let open_pulls = open_pulls.collect::<Result<HashSet<_>>>()?;
        // After the pulls: what one has settled since is a name by now.
        let rows = sqlx::query(
            "SELECT head_seq, index_key AS object_key FROM connections WHERE id = $1 \
             UNION ALL SELECT 0, object_key FROM batches WHERE connection_id = $1 \
             UNION ALL SELECT 0, object_key FROM superseded_objects WHERE connection_id = $1 \
             UNION ALL SELECT 0, object_key FROM held_deletes WHERE connection_id = $1",
        )
        .bind(&id)
        .fetch_all(&self.reader)
        .await?;
        // Rows of the other tables have a connection.
        if rows.is_empty() {
            return Ok(None);
        }
        let mut names = StoredNames {
            head_seq: 0,
            named: HashSet::new(),
            open_pulls,
        };
        for row in &rows {
            names.head_seq = names.head_seq.max(row.count("head_seq")?);
            names.named.extend(row.raw::<Option<String>>("object_key")?);
        }
        names
            .named
            .extend(piece_names(&self.reader, connection).await?);
        Ok(Some(names))
    }

    /// The state of a pull of this connection; none where it has no such.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn pull_state(
        &self,
        connection: ConnectionId,
        pull: PullId,
    ) -> Result<Option<RunState>> {
        let row = sqlx::query("SELECT state FROM pulls WHERE id = $1 AND connection_id = $2")
            .bind(pull.to_string())
            .bind(connection.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| row.word("state")).transpose()
    }

    /// The deletions that wait for a decision, by pull, after `after`, at most
    /// `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn held_objects(&self, after: Option<PullId>, limit: u32) -> Result<Vec<HeldObject>> {
        let rows = sqlx::query(
            "SELECT pull_id, connection_id, object_key, row_count FROM held_deletes \
             WHERE state = 'held' AND pull_id > $1 ORDER BY pull_id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(HeldObject {
                    pull_id: row.word("pull_id")?,
                    connection_id: row.word("connection_id")?,
                    object_key: row.text("object_key")?,
                    row_count: row.count("row_count")?,
                })
            })
            .collect()
    }

    /// Whether these deletions wait still.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn is_held(&self, pull: PullId) -> Result<bool> {
        let row =
            sqlx::query("SELECT 1 AS held FROM held_deletes WHERE pull_id = $1 AND state = 'held'")
                .bind(pull.to_string())
                .fetch_optional(&self.reader)
                .await?;
        Ok(row.is_some())
    }
}

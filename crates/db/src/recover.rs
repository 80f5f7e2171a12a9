//! A database that was restored from an older copy: noticing it by its settle
//! numbers, and going on above all that the record store and the destinations
//! have seen.

use model::{ConnectionId, DestinationId, Publication, PullId, Timestamp, Trigger};

use crate::destinations::{MARK, add_pending};
use crate::exports::add_trigger;
use crate::logs::supersede_index;
use crate::maintain::insert_merged;
use crate::publish::{add_to_export, insert_publication};
use crate::row::{Columns, bigint};
use crate::{Db, MergeCommit, Result, RunKind, lock};

/// Where a restored database goes on.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// The highest settle number that anything may hold.
    pub settle_seq: u64,
    /// Logs made anew, as one batch each; the version of the log is not looked at.
    pub merged: Vec<MergeCommit>,
    /// Connections whose numbers jump, each with the highest number of its log that
    /// anything holds.
    pub heads: Vec<(ConnectionId, u64)>,
    /// All connections: those that can be pulled are.
    pub connections: Vec<ConnectionId>,
    /// All destinations.
    pub destinations: Vec<RecoveredDestination>,
}

/// A destination of a restored database.
#[derive(Debug, Clone)]
pub struct RecoveredDestination {
    /// Its id.
    pub id: DestinationId,
    /// Its new epoch: above that of every publication there.
    pub epoch: u64,
    /// The number of the last publication there.
    pub last_publication: u64,
    /// The publications the database does not know.
    pub publications: Vec<Publication>,
}

/// Numbers of a log that were given out by a database that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogJump {
    /// The last number before them.
    pub after_seq: u64,
    /// The first number behind them.
    pub next_seq: u64,
}

impl LogJump {
    /// Whether `seq` is one of them.
    #[must_use]
    pub fn contains(self, seq: u64) -> bool {
        self.after_seq < seq && seq < self.next_seq
    }
}

impl Db {
    /// The numbers of the last batches of all connections after `after`, by id, at
    /// most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn log_heads(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<(ConnectionId, u64)>> {
        let rows =
            sqlx::query("SELECT id, head_seq FROM connections WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after.map(|id| id.to_string()).unwrap_or_default())
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
        rows.iter()
            .map(|row| Ok((row.word("id")?, row.count("head_seq")?)))
            .collect()
    }

    /// Where the numbers of a log jump.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn log_jumps(&self, connection: ConnectionId) -> Result<Vec<LogJump>> {
        let rows = sqlx::query(
            "SELECT after_seq, next_seq FROM log_jumps WHERE connection_id = $1 ORDER BY after_seq",
        )
        .bind(connection.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(LogJump {
                    after_seq: row.count("after_seq")?,
                    next_seq: row.count("next_seq")?,
                })
            })
            .collect()
    }

    /// Makes a recovery true, whole or not at all. Open runs end: what they knew is
    /// older than what was done since. Publications that stand are taken over; then
    /// everything is pulled and sent again.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn commit_recovery(&self, recovery: &Recovery) -> Result<()> {
        let now = Timestamp::now().0;
        let mut tx = self.writer.begin().await?;
        lock::all_connections(&mut tx).await?;
        lock::all_destinations(&mut tx).await?;
        close_runs(&mut tx, now).await?;
        for merge in &recovery.merged {
            take_merged(&mut tx, merge).await?;
        }
        for (connection, head) in &recovery.heads {
            jump(&mut tx, *connection, *head, now).await?;
        }
        for destination in &recovery.destinations {
            take_over(&mut tx, destination, now).await?;
        }
        sqlx::query(MARK)
            .bind(now)
            .bind("")
            .execute(&mut *tx)
            .await?;
        for connection in &recovery.connections {
            queue_pull(&mut tx, *connection, now).await?;
        }
        sqlx::query(
            "UPDATE counters SET value = $1, block_end = $1, reserving_end = $1 WHERE name = 'settle_seq'",
        )
        .bind(bigint(recovery.settle_seq))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The last settle number given out, the end of its block, and the end that is
    /// being reserved.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn settle_numbers(&self) -> Result<SettleNumbers> {
        let row = sqlx::query(
            "SELECT value, block_end, reserving_end FROM counters WHERE name = 'settle_seq'",
        )
        .fetch_one(&self.writer)
        .await?;
        Ok(SettleNumbers {
            value: row.count("value")?,
            block_end: row.count("block_end")?,
            reserving_end: row.count("reserving_end")?,
        })
    }

    /// Notes the end of a block before the record store is told of it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn reserve_settle_block(&self, end: u64) -> Result<()> {
        sqlx::query(
            "UPDATE counters SET reserving_end = $1 WHERE name = 'settle_seq' AND reserving_end < $1",
        )
        .bind(bigint(end))
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

/// How far settle numbers are given out and reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleNumbers {
    /// The last given out.
    pub value: u64,
    /// The end of the block it is of.
    pub block_end: u64,
    /// The end that the record store is told of next, or was.
    pub reserving_end: u64,
}

impl SettleNumbers {
    /// The highest end that the record store can know of, if this database is not
    /// older than it.
    #[must_use]
    pub fn known_end(&self) -> u64 {
        self.block_end.max(self.reserving_end)
    }
}

async fn close_runs(tx: &mut sqlx::Transaction<'_, sqlx::Any>, now: i64) -> Result<()> {
    // An export that was publishing is decided by what is taken over.
    let exports = format!(
        "UPDATE exports SET state = 'failed', error_code = CASE WHEN {} THEN 'publish_undecided' \
         ELSE 'database_restored' END, phase = 'done', finished_at = $1, updated_at = $1 \
         WHERE state IN ('queued', 'running')",
        RunKind::Export.is_undecided()
    );
    let pulls = "UPDATE pulls SET state = 'failed', error_code = 'database_restored', phase = 'done', finished_at = $1, \
         updated_at = $1 WHERE state IN ('queued', 'running')";
    for text in [exports, pulls.to_owned()] {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn take_merged(tx: &mut sqlx::Transaction<'_, sqlx::Any>, merge: &MergeCommit) -> Result<()> {
    let (now, connection) = (Timestamp::now(), merge.connection_id.to_string());
    supersede_index(tx, &connection, now).await?;
    sqlx::query(
        "UPDATE connections SET index_key = $1, log_version = log_version + 1 WHERE id = $2",
    )
    .bind(&merge.index_key)
    .bind(&connection)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM batches WHERE connection_id = $1")
        .bind(&connection)
        .execute(&mut **tx)
        .await?;
    insert_merged(tx, merge, now).await
}

async fn jump(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: ConnectionId,
    head: u64,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO log_jumps (connection_id, after_seq, next_seq, created_at) SELECT id, head_seq, $1, $2 \
         FROM connections WHERE id = $3 AND head_seq < $4 ON CONFLICT (connection_id, after_seq) DO UPDATE SET \
         next_seq = excluded.next_seq",
    )
    .bind(bigint(head + 1))
    .bind(now)
    .bind(connection.to_string())
    .bind(bigint(head))
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE connections SET head_seq = $1, log_version = log_version + 1 WHERE id = $2 AND head_seq < $1",
    )
    .bind(bigint(head))
    .bind(connection.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn take_over(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    destination: &RecoveredDestination,
    now: i64,
) -> Result<()> {
    let id = destination.id.to_string();
    sqlx::query(
        "UPDATE destinations SET epoch = $1, last_publication = $2, failures = 0, not_before = 0, updated_at = $3 \
         WHERE id = $4",
    )
    .bind(bigint(destination.epoch))
    .bind(bigint(destination.last_publication))
    .bind(now)
    .bind(&id)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM holds WHERE destination_id = $1")
        .bind(&id)
        .execute(&mut **tx)
        .await?;
    for publication in &destination.publications {
        insert_publication(tx, publication, now).await?;
        add_to_export(tx, publication, true, now).await?;
    }
    add_pending(tx, destination.id, Trigger::Recovered).await
}

async fn queue_pull(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: ConnectionId,
    now: i64,
) -> Result<()> {
    let id = PullId::new().to_string();
    let queued = sqlx::query(
        "INSERT INTO pulls (id, connection_id, state, phase, pages, counts, created_at, updated_at, asks_full) \
         SELECT $1, connections.id, 'queued', 'working', 0, '{}', $2, $2, 1 FROM connections JOIN sources \
         ON sources.id = connections.source_id WHERE connections.id = $3 AND connections.status = 'active' \
         AND connections.enabled = 1 AND sources.enabled = 1 \
         ON CONFLICT (connection_id) WHERE state = 'queued' DO NOTHING",
    )
    .bind(&id)
    .bind(now)
    .bind(connection.to_string())
    .execute(&mut **tx)
    .await?;
    if queued.rows_affected() > 0 {
        add_trigger(tx, &id, Trigger::Recovered).await?;
        sqlx::query("UPDATE connections SET last_pull_at = $1 WHERE id = $2")
            .bind(now)
            .bind(connection.to_string())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

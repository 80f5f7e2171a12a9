//! Schedules: how often a connection is pulled by itself. Nothing is planned ahead: a
//! connection is due when its last pull is so long ago, by the interval that stands
//! now; so a change of it holds at once, and there is nothing to forget.

use model::{ConnectionId, PullKind, Timestamp, Trigger};

use crate::exports::add_trigger;
use crate::pull_requests::queue_pull;
use crate::row::Columns;
use crate::{Db, Result, lock};

/// The shortest interval, in seconds: a portal is not a queue.
pub const PULL_INTERVAL_MIN_S: u32 = 15 * 60;
/// The longest interval, in seconds: beyond, it is rather none.
pub const PULL_INTERVAL_MAX_S: u32 = 90 * 24 * 60 * 60;

/// The part of an interval by which connections differ, in a hundred.
const SPREAD_PERCENT: i64 = 10;

/// The interval of a connection, as an expression: its own, else its source's.
const INTERVAL: &str = "COALESCE(connections.pull_interval_s, sources.pull_interval_s, 0)";
/// What the interval counts from, as an expression.
const SINCE: &str = "COALESCE(connections.last_pull_at, connections.created_at)";

/// A connection whose schedule says that it is to be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    connection: ConnectionId,
    since: Timestamp,
}

/// When a connection is to be pulled next: up to a tenth of the interval earlier,
/// always by as much for the same connection, so that connections that were pulled
/// together draw apart.
#[must_use]
pub(crate) fn next_pull_at(
    connection: ConnectionId,
    since: Timestamp,
    interval_s: u32,
) -> Timestamp {
    let interval = i64::from(interval_s) * 1_000_000;
    let spread = interval / 100 * SPREAD_PERCENT;
    let earlier = spread / 1_000 * share(connection);
    Timestamp(since.0.saturating_add(interval - earlier))
}

/// The connection's share of the spread, in a thousand: the last digits of its id are
/// random.
fn share(connection: ConnectionId) -> i64 {
    let id = connection.to_string();
    let digits = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or(0) % 1_000
}

impl Db {
    /// Queues the pulls that schedules say are due, the longest overdue first, at most
    /// `limit`; returns how many. A connection that is disabled or not active, or of
    /// which a pull is queued or running, is not due.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn queue_scheduled_pulls(&self, limit: u32) -> Result<u64> {
        let mut queued = 0;
        for due in self.due_connections(Timestamp::now(), limit).await? {
            queued += u64::from(self.queue_scheduled(due).await?);
        }
        Ok(queued)
    }

    async fn due_connections(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>> {
        let earliest = 10_000 * (100 - SPREAD_PERCENT);
        let text = format!(
            "SELECT connections.id AS id, {SINCE} AS since, {INTERVAL} AS interval_s \
             FROM connections JOIN sources ON sources.id = connections.source_id \
             WHERE connections.enabled = 1 AND sources.enabled = 1 AND connections.status = 'active' \
             AND {INTERVAL} > 0 AND {SINCE} + {INTERVAL} * {earliest} <= $1 \
             AND NOT EXISTS (SELECT 1 FROM pulls WHERE pulls.connection_id = connections.id \
             AND pulls.state IN ('queued', 'running')) ORDER BY {SINCE}, connections.id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now.0)
            .fetch_all(&self.reader)
            .await?;
        let mut due = Vec::new();
        for row in &rows {
            let (connection, since) = (row.word("id")?, row.time("since")?);
            let interval = interval(row.optional_count("interval_s")?)?.unwrap_or_default();
            if next_pull_at(connection, since, interval) <= now {
                due.push(Due { connection, since });
            }
            if due.len() == limit as usize {
                break;
            }
        }
        Ok(due)
    }

    /// Queues the pull of a connection that is due; false where somebody was first, or
    /// deletions that were accepted wait to settle.
    async fn queue_scheduled(&self, due: Due) -> Result<bool> {
        let id = due.connection.to_string();
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, due.connection).await?;
        let still_due = format!(
            "SELECT connections.id FROM connections WHERE id = $1 AND enabled = 1 AND status = 'active' \
             AND {SINCE} = $2 AND NOT EXISTS (SELECT 1 FROM pulls WHERE pulls.connection_id = $1 \
             AND pulls.state IN ('queued', 'running'))"
        );
        let still_due = sqlx::query(sqlx::AssertSqlSafe(still_due))
            .bind(&id)
            .bind(due.since.0)
            .fetch_optional(&mut *tx)
            .await?;
        let pull = model::PullId::new();
        if still_due.is_none()
            || !queue_pull(&mut tx, pull, due.connection, PullKind::Fetch).await?
        {
            return Ok(false);
        }
        add_trigger(&mut tx, &pull.to_string(), Trigger::Scheduled).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// An interval as its column has it.
pub(crate) fn interval(seconds: Option<u64>) -> Result<Option<u32>> {
    let fits = |seconds| u32::try_from(seconds).map_err(|_| crate::row::corrupt("pull_interval_s"));
    seconds.map(fits).transpose()
}

/// An interval in seconds, if a source or connection may have it.
///
/// # Errors
/// What would do, in words.
pub fn check_pull_interval(seconds: u32) -> std::result::Result<u32, String> {
    if (PULL_INTERVAL_MIN_S..=PULL_INTERVAL_MAX_S).contains(&seconds) {
        return Ok(seconds);
    }
    Err(format!(
        "an interval is {} minutes at least and {} days at most",
        PULL_INTERVAL_MIN_S / 60,
        PULL_INTERVAL_MAX_S / (24 * 60 * 60)
    ))
}

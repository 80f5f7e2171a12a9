//! Schedules: how often a connection is pulled by itself. Nothing is planned ahead: a
//! connection is due when its last pull is so long ago, by the interval that stands
//! now; so a change of it holds at once, and there is nothing to forget. Each connection's
//! row has the interval that holds, so that an index finds those that are due.

use model::{ConnectionId, PullKind, SourceId, Timestamp, Trigger};

use crate::call::Tx;
use crate::exports::add_trigger;
use crate::pull_requests::queue_pull;
use crate::row::Columns;
use crate::{Db, Result, lock};

/// The shortest interval, in seconds: a portal is not a queue.
pub const PULL_INTERVAL_MIN_S: u32 = 15 * 60;
/// The longest interval, in seconds: beyond, it is rather none.
pub const PULL_INTERVAL_MAX_S: u32 = 90 * 24 * 60 * 60;

/// When a connection is due, in microseconds, where it has an interval: its last pull, or
/// its being added, and the interval, less up to a tenth of it, always as much for the same
/// connection, so that connections that were pulled together draw apart. The index
/// `connections_due` has the expression letter by letter.
pub(crate) const DUE_AT: &str = "COALESCE(connections.last_pull_at, connections.created_at) \
     + connections.pull_every_s * (1000000 - 100 * connections.pull_share)";

/// What one look at the schedules did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleLook {
    /// The pulls that it queued.
    pub queued: u64,
    /// Whether it saw as many connections as it may: further ones may be due.
    pub is_full: bool,
}

/// The connection's share of the spread, in a thousand: the last digits of its id are
/// random.
pub(crate) fn share(connection: ConnectionId) -> i64 {
    let id = connection.to_string();
    let digits = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or(0) % 1_000
}

/// The condition of being due at $1. One condition for each state, as the indexes of open
/// pulls have them.
fn is_due() -> String {
    format!(
        "connections.pull_every_s > 0 AND connections.enabled = 1 AND connections.status = 'active' \
         AND {DUE_AT} <= $1 \
         AND NOT EXISTS (SELECT 1 FROM pulls WHERE pulls.connection_id = connections.id AND pulls.state = 'queued') \
         AND NOT EXISTS (SELECT 1 FROM pulls WHERE pulls.connection_id = connections.id AND pulls.state = 'running')"
    )
}

/// The query of those that are due at $1, at most $2.
pub(crate) fn due() -> String {
    format!(
        "SELECT connections.id AS id FROM connections WHERE {} ORDER BY {DUE_AT}, connections.id LIMIT $2",
        is_due()
    )
}

impl Db {
    /// Queues the pulls that schedules say are due, the longest overdue first, whatever
    /// their source, at most `limit`. A connection that is disabled or not active, or of
    /// which a pull is queued or running, is not due.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn queue_scheduled_pulls(&self, limit: u32) -> Result<ScheduleLook> {
        let now = Timestamp::now();
        let due = self.due_connections(now, limit).await?;
        let mut queued = 0;
        for connection in &due {
            queued += u64::from(self.queue_scheduled(*connection, now).await?);
        }
        Ok(ScheduleLook {
            queued,
            is_full: due.len() >= limit as usize,
        })
    }

    async fn due_connections(&self, now: Timestamp, limit: u32) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(due()))
            .bind(now.0)
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(|row| row.word("id")).collect()
    }

    /// Queues the pull of a connection that is due; false where somebody was first, or
    /// deletions that were accepted wait to settle.
    async fn queue_scheduled(&self, connection: ConnectionId, now: Timestamp) -> Result<bool> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, connection).await?;
        let text = format!(
            "SELECT connections.id AS id FROM connections WHERE {} AND connections.id = $2",
            is_due()
        );
        let still_due = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now.0)
            .bind(connection.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let pull = model::PullId::new();
        if still_due.is_none() || !queue_pull(&mut tx, pull, connection, PullKind::Fetch).await? {
            return Ok(false);
        }
        add_trigger(&mut tx, &pull.to_string(), Trigger::Scheduled).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Writes the interval that holds of a connection that was added, or whose own interval
/// was changed.
pub(crate) async fn reschedule_connection(tx: &mut Tx<'_>, id: ConnectionId) -> Result<()> {
    reschedule(tx, "id", &id.to_string()).await
}

/// Writes the interval that holds of all connections of a locked source, whose interval
/// was changed or which was enabled or disabled.
pub(crate) async fn reschedule_source(tx: &mut Tx<'_>, id: SourceId) -> Result<()> {
    reschedule(tx, "source_id", &id.to_string()).await
}

async fn reschedule(tx: &mut Tx<'_>, of: &str, id: &str) -> Result<()> {
    let text = format!(
        "UPDATE connections SET pull_every_s = (SELECT CASE WHEN sources.enabled = 1 \
         THEN COALESCE(connections.pull_interval_s, sources.pull_interval_s, 0) ELSE 0 END \
         FROM sources WHERE sources.id = connections.source_id) WHERE {of} = $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
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

//! Held deletions: what a pull would have deleted had it not been so much, and
//! what became of it. The tombstones lie in the record store; the row names the
//! object.

use std::collections::{BTreeMap, BTreeSet};

use model::{ConnectionId, HeldState, PullId, Timestamp};
use sqlx::any::AnyRow;

use crate::events::insert_event;
use crate::row::{Columns, bigint, json};
use crate::{Db, Error, Result};

/// Deletions that a pull held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldDeletes {
    /// The pull that found them.
    pub pull_id: PullId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// The tombstones, in the record store.
    pub object_key: String,
    /// How many there are.
    pub row_count: u64,
    /// How many of each type.
    pub types: BTreeMap<String, u64>,
    /// The last batch of the log when they were found.
    pub head_seq: u64,
    /// What became of them. Accepted ones wait again if the pull that should have
    /// settled them failed or was cancelled.
    pub state: HeldState,
    /// When they were found.
    pub created_at: Timestamp,
    /// When that was decided.
    pub decided_at: Option<Timestamp>,
    /// The pull that settles accepted ones.
    pub accepted_by: Option<PullId>,
}

/// Deletions that a settle holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// The tombstones, in the record store.
    pub object_key: String,
    /// How many of each type.
    pub types: BTreeMap<String, u64>,
    /// The last batch of the log before this settle.
    pub head_seq: u64,
}

/// What a settle does to the held deletions of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldChange {
    /// It has looked again: what was held before is replaced by what it holds now,
    /// if anything.
    Replace(Option<NewHold>),
    /// It settles the deletions that were accepted for this pull.
    Settle,
}

/// A decision can be taken: they are held, or the pull that was to settle them
/// did not.
pub(crate) const IS_OPEN: &str = "(held_deletes.state = 'held' OR (held_deletes.state = 'accepted' AND EXISTS \
     (SELECT 1 FROM pulls WHERE pulls.id = held_deletes.accepted_by AND pulls.state IN ('failed', 'cancelled'))))";

/// They are not settled, discarded or replaced.
pub(crate) const IS_UNSETTLED: &str = "(held_deletes.state = 'held' OR (held_deletes.state = 'accepted' AND EXISTS \
     (SELECT 1 FROM pulls WHERE pulls.id = held_deletes.accepted_by AND pulls.state NOT IN ('completed', 'partial'))))";

fn select(condition: &str) -> String {
    format!(
        "SELECT pull_id, connection_id, object_key, row_count, types, head_seq, \
         CASE WHEN {IS_OPEN} THEN 'held' ELSE state END AS state, created_at, decided_at, accepted_by \
         FROM held_deletes WHERE {condition} ORDER BY created_at, pull_id"
    )
}

fn read(row: &AnyRow) -> Result<HeldDeletes> {
    Ok(HeldDeletes {
        pull_id: row.word("pull_id")?,
        connection_id: row.word("connection_id")?,
        object_key: row.text("object_key")?,
        row_count: row.count("row_count")?,
        types: row.json("types")?,
        head_seq: row.count("head_seq")?,
        state: row.word("state")?,
        created_at: row.time("created_at")?,
        decided_at: row.optional_time("decided_at")?,
        accepted_by: row.optional_word("accepted_by")?,
    })
}

impl Db {
    /// The deletions that wait for a decision, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn waiting_deletes(&self) -> Result<Vec<HeldDeletes>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(select(IS_OPEN)))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The deletions that a pull held back, whatever became of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn held_deletes(&self, pull: PullId) -> Result<Option<HeldDeletes>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(select("pull_id = $1")))
            .bind(pull.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The deletions that a pull of kind `accept_deletes` settles; none where
    /// another pull has looked again meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn accepted_deletes(&self, accepting: PullId) -> Result<Option<HeldDeletes>> {
        let text = select("accepted_by = $1 AND state = 'accepted'");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(accepting.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The objects of held deletions of a connection that are still wanted.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn wanted_held_objects(&self, connection: ConnectionId) -> Result<Vec<String>> {
        let text = format!(
            "SELECT object_key FROM held_deletes WHERE connection_id = $1 AND {IS_UNSETTLED}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.to_string())
            .fetch_all(&self.writer)
            .await?;
        rows.iter().map(|row| row.text("object_key")).collect()
    }

    /// The types of which deletions of a connection wait for a decision or to be settled.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn held_types(&self, connection: ConnectionId) -> Result<BTreeSet<String>> {
        let text = select(&format!("connection_id = $1 AND {IS_UNSETTLED}"));
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.to_string())
            .fetch_all(&self.writer)
            .await?;
        let mut types = BTreeSet::new();
        for row in &rows {
            types.extend(read(row)?.types.into_keys());
        }
        Ok(types)
    }
}

/// Changes the held deletions of a connection, in the transaction of a settle.
pub(crate) async fn change_held(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: ConnectionId,
    pull: PullId,
    change: &HeldChange,
) -> Result<()> {
    let now = Timestamp::now();
    let hold = match change {
        HeldChange::Settle => {
            let settled = sqlx::query(
                "UPDATE held_deletes SET decided_at = $1 WHERE accepted_by = $2 AND state = 'accepted'",
            )
            .bind(now.0)
            .bind(pull.to_string())
            .execute(&mut **tx)
            .await?;
            return match settled.rows_affected() {
                0 => Err(Error::Lost),
                _ => Ok(()),
            };
        }
        HeldChange::Replace(hold) => hold,
    };
    let replace = format!(
        "UPDATE held_deletes SET state = 'replaced', decided_at = $1 WHERE connection_id = $2 AND {IS_UNSETTLED}"
    );
    sqlx::query(sqlx::AssertSqlSafe(replace))
        .bind(now.0)
        .bind(connection.to_string())
        .execute(&mut **tx)
        .await?;
    let Some(hold) = hold else {
        return Ok(());
    };
    let row_count = hold.types.values().sum();
    sqlx::query(
        "INSERT INTO held_deletes (pull_id, connection_id, object_key, row_count, types, head_seq, state, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 'held', $7)",
    )
    .bind(pull.to_string())
    .bind(connection.to_string())
    .bind(&hold.object_key)
    .bind(bigint(row_count))
    .bind(json(&hold.types))
    .bind(bigint(hold.head_seq))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    let body = serde_json::json!({
        "connection_id": connection, "row_count": row_count, "types": hold.types,
    });
    insert_event(tx, "deletes.held", &pull.to_string(), &body).await
}

//! What changes of a connection: whether and how often it is pulled, and that it can no
//! longer be.

use model::ConnectionId;

use crate::call::Tx;
use crate::connection_summaries::{ConnectionSummary, not_found, one, read_summary};
use crate::schedules::reschedule_connection;
use crate::tokens::forget_token;
use crate::{Db, Error, Result, lock};

/// What is to change of a connection; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionChange<'a> {
    /// Whether it is pulled.
    pub enabled: Option<bool>,
    /// Seconds between two pulls by a schedule, 0 for none, or as its source has it.
    pub pull_interval_s: Option<Option<u32>>,
    /// The connection as the caller has seen it: only then it is changed.
    pub seen: Option<&'a ConnectionSummary>,
}

impl Db {
    /// Gives up a connection: its token is forgotten, and it is not pulled again.
    /// What it brought stays. Doing so twice is doing it once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_connection(&self, id: ConnectionId) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        let done = sqlx::query(
            "UPDATE connections SET status = 'revoked', token_sealed = NULL WHERE id = $1",
        )
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(not_found(id));
        }
        forget_token(&mut tx, &id.to_string()).await?;
        self.commit(tx, id).await
    }

    /// Changes a connection, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] if it is not as it was seen.
    pub async fn change_connection(
        &self,
        id: ConnectionId,
        change: ConnectionChange<'_>,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, id).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(one()))
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let connection = read_summary(&row.ok_or_else(|| not_found(id))?)?;
        if change.seen.is_some_and(|seen| *seen != connection) {
            return Err(Error::Changed);
        }
        if let Some(enabled) = change.enabled {
            sqlx::query("UPDATE connections SET enabled = $1 WHERE id = $2")
                .bind(i64::from(enabled))
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        if let Some(every) = change.pull_interval_s {
            sqlx::query("UPDATE connections SET pull_interval_s = $1 WHERE id = $2")
                .bind(every.map(i64::from))
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
            reschedule_connection(&mut tx, id).await?;
        }
        self.commit(tx, id).await
    }

    /// Notes that a connection's grant is not honoured, with an event; one that was
    /// given up stays so.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn set_needs_reconnect(&self, id: ConnectionId, error_code: &str) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, id).await?;
        needs_reconnect(&mut tx, id, error_code).await?;
        Ok(tx.commit().await?)
    }
}

/// Notes that a connection has to be made again, with its event; one that is known to
/// need that, or was given up, stays as it is.
pub(crate) async fn needs_reconnect(
    tx: &mut Tx<'_>,
    connection: ConnectionId,
    error_code: &str,
) -> Result<()> {
    let id = connection.to_string();
    let changed = sqlx::query(
        "UPDATE connections SET status = 'needs_reconnect' WHERE id = $1 AND status = 'active'",
    )
    .bind(&id)
    .execute(&mut **tx)
    .await?;
    if changed.rows_affected() > 0 {
        let body = serde_json::json!({ "error_code": error_code });
        crate::events::insert_event(tx, "connection.needs_reconnect", &id, &body).await?;
    }
    Ok(())
}

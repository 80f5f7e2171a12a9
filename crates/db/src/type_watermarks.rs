//! How far a connection's pulls have come with each type: how it was asked for when
//! it was last had whole, since absence is evidence only against the same question,
//! and up to when its changes are had, by the source's clock.

use std::collections::BTreeMap;

use model::{ConnectionId, Timestamp};

use crate::row::Columns;
use crate::{Db, Result};

/// How far a type has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeWatermark {
    /// A hash of how it was asked for when it was last had whole.
    pub plan_hash: String,
    /// When that was, by our clock.
    pub completed_at: Timestamp,
    /// The newest change that is had, by the source's clock; none: it is asked for
    /// whole.
    pub had_to: Option<Timestamp>,
}

/// What a pull does to the watermark of a type that it asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatermarkChange {
    /// How it was asked for, where it was asked for whole and had whole.
    pub whole: Option<String>,
    /// The newest change that is had from now on; none: not known, so that the next
    /// pull asks for it whole.
    pub had_to: Option<Timestamp>,
}

impl Db {
    /// How far each type of a connection has come.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn type_watermarks(
        &self,
        connection: ConnectionId,
    ) -> Result<BTreeMap<String, TypeWatermark>> {
        let rows = sqlx::query(
            "SELECT resource_type, plan_hash, completed_at, had_to FROM type_watermarks \
             WHERE connection_id = $1 AND mode = 'full'",
        )
        .bind(connection.to_string())
        .fetch_all(&self.writer)
        .await?;
        rows.iter()
            .map(|row| {
                let watermark = TypeWatermark {
                    plan_hash: row.text("plan_hash")?,
                    completed_at: row.time("completed_at")?,
                    had_to: row.optional_time("had_to")?,
                };
                Ok((row.text("resource_type")?, watermark))
            })
            .collect()
    }
}

/// Changes watermarks, in the transaction of a settle.
pub(crate) async fn change(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: ConnectionId,
    changes: &BTreeMap<String, WatermarkChange>,
    now: Timestamp,
) -> Result<()> {
    for (resource_type, change) in changes {
        let had_to = change.had_to.map(|at| at.0);
        let Some(plan_hash) = &change.whole else {
            sqlx::query(
                "UPDATE type_watermarks SET had_to = $1 WHERE connection_id = $2 AND resource_type = $3",
            )
            .bind(had_to)
            .bind(connection.to_string())
            .bind(resource_type)
            .execute(&mut **tx)
            .await?;
            continue;
        };
        sqlx::query(
            "INSERT INTO type_watermarks (connection_id, resource_type, mode, plan_hash, completed_at, had_to) \
             VALUES ($1, $2, 'full', $3, $4, $5) ON CONFLICT (connection_id, resource_type) DO UPDATE SET \
             mode = excluded.mode, plan_hash = excluded.plan_hash, completed_at = excluded.completed_at, \
             had_to = excluded.had_to",
        )
        .bind(connection.to_string())
        .bind(resource_type)
        .bind(plan_hash)
        .bind(now.0)
        .bind(had_to)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Forgets up to when changes are had, and what was not found: another grant may reach
/// further.
pub(crate) async fn forget_changes(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: &str,
) -> Result<()> {
    sqlx::query("UPDATE type_watermarks SET had_to = NULL WHERE connection_id = $1")
        .bind(connection)
        .execute(&mut **tx)
        .await?;
    crate::dangling::forget(tx, connection).await
}

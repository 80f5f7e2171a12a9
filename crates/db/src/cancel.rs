//! Cancelling: a request stands on the run's row until its workflow has ended it.

use model::{RunState, Timestamp};

use crate::holds::hold_cancelled;
use crate::row::Columns;
use crate::settle::insert_event;
use crate::{Db, Error, OpenRun, Result, RunKind};

impl Db {
    /// Asks a run to end. A queued one ends at once; a running one when Dispatch
    /// has told its workflow. Asking twice is asking once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a run that has ended.
    pub async fn request_cancel(&self, kind: RunKind, id: &str) -> Result<()> {
        let (table, now) = (kind.table(), Timestamp::now().0);
        let mut tx = self.writer.begin().await?;
        let running = format!(
            "UPDATE {table} SET cancel_requested_at = COALESCE(cancel_requested_at, $1) \
             WHERE id = $2 AND state = 'running'"
        );
        let asked = sqlx::query(sqlx::AssertSqlSafe(running))
            .bind(now)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if asked.rows_affected() == 0 && !end_queued(&mut tx, kind, id, now).await? {
            let text = format!("SELECT state FROM {table} WHERE id = $1");
            let row = sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
            let noun = kind.noun();
            let row = row.ok_or_else(|| Error::NotFound {
                noun,
                id: id.to_owned(),
            })?;
            let state: RunState = row.word("state")?;
            return Err(Error::Conflict {
                what: format!(
                    "{noun} {id} is {state}: only one that is queued or running can be cancelled"
                ),
            });
        }
        tx.commit().await?;
        Ok(())
    }

    /// Running runs that were asked to end, oldest request first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn cancels_due(&self, limit: u32) -> Result<Vec<OpenRun>> {
        let mut found = Vec::new();
        for kind in [RunKind::Pull, RunKind::Export] {
            let text = format!(
                "SELECT id, {} AS subject_id, workflow_run_id FROM {} WHERE state = 'running' \
                 AND cancel_requested_at IS NOT NULL ORDER BY cancel_requested_at LIMIT $1",
                kind.subject(),
                kind.table()
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
            for row in &rows {
                found.push(OpenRun::read(kind, row)?);
            }
        }
        Ok(found)
    }

    /// Ends a run that was asked to end and whose workflow is gone. An export in
    /// its last phase may have published: the next plan decides it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_cancelled(&self, open: &OpenRun) -> Result<()> {
        let (kind, now) = (open.run.kind, Timestamp::now().0);
        let undecided = match kind {
            RunKind::Pull => "1 = 0",
            RunKind::Export => "phase = 'committing'",
        };
        let text = format!(
            "UPDATE {} SET state = CASE WHEN {undecided} THEN 'failed' ELSE 'cancelled' END, error_code = \
             CASE WHEN {undecided} THEN 'publish_undecided' ELSE 'cancelled' END, phase = 'done', finished_at = $1, \
             updated_at = $1 WHERE id = $2 AND state = 'running' AND workflow_run_id = $3",
            kind.table()
        );
        let mut tx = self.writer.begin().await?;
        let ended = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now)
            .bind(&open.run.run_id)
            .bind(&open.workflow_run_id)
            .execute(&mut *tx)
            .await?;
        if ended.rows_affected() > 0 {
            tell(&mut tx, kind, &open.run.run_id).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn end_queued(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    kind: RunKind,
    id: &str,
    now: i64,
) -> Result<bool> {
    let text = format!(
        "UPDATE {} SET state = 'cancelled', phase = 'done', error_code = 'cancelled', cancel_requested_at = $1, \
         finished_at = $1, updated_at = $1 WHERE id = $2 AND state = 'queued'",
        kind.table()
    );
    let ended = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    tell(tx, kind, id).await?;
    Ok(true)
}

/// What a cancelled run leaves: its event and, of an export, holds.
async fn tell(tx: &mut sqlx::Transaction<'_, sqlx::Any>, kind: RunKind, id: &str) -> Result<()> {
    if kind == RunKind::Export {
        hold_cancelled(tx, id).await?;
    }
    let body = serde_json::json!({ "state": RunState::Cancelled, "error_code": "cancelled" });
    insert_event(tx, &format!("{}.finished", kind.noun()), id, &body).await
}

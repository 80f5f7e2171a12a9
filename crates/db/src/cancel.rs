//! Cancelling: a request stands on the run's row until its workflow has ended it.

use model::{RunState, Timestamp};
use sqlx::any::AnyRow;

use crate::events::insert_event;
use crate::holds::hold_cancelled;
use crate::row::Columns;
use crate::{Db, Error, OpenRun, Result, RunKind, lock};

impl Db {
    /// Asks a run to end. A queued one ends at once; a running one when Dispatch
    /// has told its workflow. Asking twice is asking once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a run that has ended.
    pub async fn request_cancel(&self, kind: RunKind, id: &str) -> Result<()> {
        let (table, now) = (kind.table(), Timestamp::now().0);
        let mut tx = self.writer.begin().await?;
        lock::subject_of(&mut tx, kind, id).await?;
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
        self.commit(tx, id).await
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

    /// Ends a run that was asked to end and whose workflow is gone. An export that
    /// was publishing may have done so: the next plan decides it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_cancelled(&self, open: &OpenRun) -> Result<()> {
        let kind = open.run.kind;
        let text = format!(
            "{} AND state = 'running' AND workflow_run_id = $3 RETURNING state, error_code",
            ending(kind)
        );
        let mut tx = self.writer.begin().await?;
        lock::subject(&mut tx, kind, &open.run.subject_id).await?;
        let ended = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(Timestamp::now().0)
            .bind(&open.run.run_id)
            .bind(&open.workflow_run_id)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(ended) = ended {
            tell(&mut tx, kind, &open.run.run_id, &ended).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Ends the run `$2` at the time `$1`, as far as it is known how.
fn ending(kind: RunKind) -> String {
    let undecided = kind.is_undecided();
    format!(
        "UPDATE {} SET state = CASE WHEN {undecided} THEN 'failed' ELSE 'cancelled' END, error_code = \
         CASE WHEN {undecided} THEN 'publish_undecided' ELSE 'cancelled' END, phase = 'done', finished_at = $1, \
         updated_at = $1, cancel_requested_at = COALESCE(cancel_requested_at, $1) WHERE id = $2",
        kind.table()
    )
}

async fn end_queued(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    kind: RunKind,
    id: &str,
    now: i64,
) -> Result<bool> {
    let text = format!(
        "{} AND state = 'queued' RETURNING state, error_code",
        ending(kind)
    );
    let ended = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(ended) = ended else {
        return Ok(false);
    };
    tell(tx, kind, id, &ended).await?;
    Ok(true)
}

/// What a cancelled run leaves: its event and, of an export, holds.
async fn tell(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    kind: RunKind,
    id: &str,
    ended: &AnyRow,
) -> Result<()> {
    if kind == RunKind::Export {
        hold_cancelled(tx, id).await?;
    }
    let (state, code) = (ended.text("state")?, ended.text("error_code")?);
    let body = serde_json::json!({ "state": state, "error_code": code });
    insert_event(tx, &format!("{}.finished", kind.noun()), id, &body).await
}

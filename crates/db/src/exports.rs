//! Exports: asking for one, claiming it, ending it.

use std::time::Duration;

use model::{DestinationId, ExportCounts, ExportId, RunPhase, RunState, Timestamp, Trigger};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Db, Error, Result};

/// One run of delivering to a destination.
#[derive(Debug, Clone, Serialize)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Where to.
    pub destination_id: DestinationId,
    /// How it stands.
    pub state: RunState,
    /// Where a running one stands.
    pub phase: RunPhase,
    /// The run this one makes up for.
    pub retry_of: Option<ExportId>,
    /// Rows planned, delivered, skipped and failed.
    pub counts: ExportCounts,
    /// Patients whose records were processed.
    pub patients: u64,
    /// Files published.
    pub part_count: u64,
    /// Their size.
    pub size_bytes: u64,
    /// Publications made.
    pub publication_count: u64,
    /// Why it failed.
    pub error_code: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a workflow took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it was asked for.
    pub triggers: Vec<TriggerCount>,
}

/// How often a run was asked for, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriggerCount {
    /// The reason.
    pub reason: Trigger,
    /// How often.
    pub count: u64,
    /// When first.
    pub first_at: Timestamp,
}

const COLUMNS: &str = "id, destination_id, state, phase, retry_of, counts, patients, part_count, size_bytes, \
     publication_count, error_code, created_at, started_at, finished_at";

fn read(row: &AnyRow) -> Result<Export> {
    Ok(Export {
        id: row.word("id")?,
        destination_id: row.word("destination_id")?,
        state: row.word("state")?,
        phase: row.word("phase")?,
        retry_of: row.optional_word("retry_of")?,
        counts: row.json("counts")?,
        patients: row.count("patients")?,
        part_count: row.count("part_count")?,
        size_bytes: row.count("size_bytes")?,
        publication_count: row.count("publication_count")?,
        error_code: row.raw("error_code")?,
        created_at: row.time("created_at")?,
        started_at: row.optional_time("started_at")?,
        finished_at: row.optional_time("finished_at")?,
        triggers: Vec::new(),
    })
}

impl Db {
    /// Asks for an export: joins the queued one of the destination, or queues
    /// one. It takes over the reasons gathered so far and resets the waiting that
    /// failures have brought. Returns the run that will do the work.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a disabled destination.
    pub async fn request_export(
        &self,
        destination: DestinationId,
        trigger: Option<Trigger>,
    ) -> Result<ExportId> {
        let (now, name) = (Timestamp::now().0, destination.to_string());
        let mut tx = self.writer.begin().await?;
        if trigger == Some(Trigger::Manual) {
            sqlx::query("UPDATE destinations SET failures = 0, not_before = 0 WHERE id = $1 AND enabled = 1")
                .bind(&name)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "INSERT INTO exports (id, destination_id, state, phase, chunk_count, counts, patients, part_count, \
             size_bytes, publication_count, created_at, updated_at) \
             SELECT $1, id, 'queued', 'working', 0, '{}', 0, 0, 0, 0, $2, $2 FROM destinations \
             WHERE id = $3 AND enabled = 1 ON CONFLICT (destination_id) WHERE state = 'queued' DO NOTHING",
        )
        .bind(ExportId::new().to_string())
        .bind(now)
        .bind(&name)
        .execute(&mut *tx)
        .await?;
        let row =
            sqlx::query("SELECT id FROM exports WHERE destination_id = $1 AND state = 'queued'")
                .bind(&name)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(row) = row else {
            drop(tx);
            self.destination(&name).await?;
            return Err(Error::Conflict {
                what: format!(
                    "destination {name} is disabled: `chartlift destination enable {name}` first"
                ),
            });
        };
        let id: ExportId = row.word("id")?;
        sqlx::query(
            "INSERT INTO run_triggers (run_id, reason, count, first_at) \
             SELECT $1, reason, count, first_at FROM pending_triggers WHERE destination_id = $2 \
             ON CONFLICT (run_id, reason) DO UPDATE SET count = run_triggers.count + excluded.count",
        )
        .bind(id.to_string())
        .bind(&name)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM pending_triggers WHERE destination_id = $1")
            .bind(&name)
            .execute(&mut *tx)
            .await?;
        if let Some(trigger) = trigger {
            add_trigger(&mut tx, &id.to_string(), trigger).await?;
        }
        tx.commit().await?;
        Ok(id)
    }

    /// Gives the queued export of a destination to a workflow. Another open
    /// export of the destination is closed as failed; whether its publication
    /// stands is decided when the next plan reads the slot. An attempt that
    /// repeats gets the export it had.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn claim_export(
        &self,
        destination: DestinationId,
        workflow_run_id: &str,
    ) -> Result<Option<ExportId>> {
        let (now, name) = (Timestamp::now().0, destination.to_string());
        let mut tx = self.writer.begin().await?;
        sqlx::query(
            "UPDATE exports SET state = 'failed', phase = 'done', error_code = CASE WHEN phase = 'committing' THEN \
             'publish_undecided' ELSE 'workflow_gone' END, finished_at = $1, updated_at = $1 \
             WHERE destination_id = $2 AND state = 'running' AND workflow_run_id <> $3",
        )
        .bind(now)
        .bind(&name)
        .bind(workflow_run_id)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "UPDATE exports SET state = 'running', workflow_run_id = $1, started_at = $2, updated_at = $2 \
             WHERE destination_id = $3 AND state = 'queued' AND NOT EXISTS \
             (SELECT 1 FROM exports AS open WHERE open.destination_id = $3 AND open.state = 'running')",
        )
        .bind(workflow_run_id)
        .bind(now)
        .bind(&name)
        .execute(&mut *tx)
        .await?;
        let row =
            sqlx::query("SELECT id FROM exports WHERE destination_id = $1 AND state = 'running'")
                .bind(&name)
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        row.map(|row| row.word("id")).transpose()
    }

    /// An export, with its triggers.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn export(&self, id: ExportId) -> Result<Export> {
        let text = format!("SELECT {COLUMNS} FROM exports WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        let mut export = read(&row.ok_or_else(|| Error::NotFound {
            noun: "export",
            id: id.to_string(),
        })?)?;
        export.triggers = triggers_of(&self.reader, &id.to_string()).await?;
        Ok(export)
    }

    /// Exports, newest first, of one destination or all; before `before`, at most
    /// `limit`. Without their triggers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn exports(
        &self,
        destination: Option<DestinationId>,
        before: Option<ExportId>,
        limit: u32,
    ) -> Result<Vec<Export>> {
        let text = format!(
            "SELECT {COLUMNS} FROM exports WHERE ($1 = '' OR destination_id = $1) AND ($2 = '' OR id < $2) \
             ORDER BY id DESC LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination.map(|id| id.to_string()).unwrap_or_default())
            .bind(before.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Ends a running export. `failed` and `partial` count against the
    /// destination: the next automatic run waits 1 minute, doubling up to 6 hours.
    /// After `cancelled` it waits 6 hours at once: whoever cancelled wants it to
    /// stay so. A manual start, or enabling again, ends the waiting.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_export(
        &self,
        id: ExportId,
        state: RunState,
        error_code: Option<&str>,
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut tx = self.writer.begin().await?;
        let ended = sqlx::query(
            "UPDATE exports SET state = $1, phase = 'done', error_code = $2, finished_at = $3, updated_at = $3 \
             WHERE id = $4 AND state IN ('queued', 'running')",
        )
        .bind(state.as_str())
        .bind(error_code)
        .bind(now.0)
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 {
            let row = sqlx::query("SELECT failures FROM destinations WHERE id = (SELECT destination_id FROM exports WHERE id = $1)")
                .bind(id.to_string())
                .fetch_one(&mut *tx)
                .await?;
            let (failures, not_before) = match state {
                RunState::Failed | RunState::Partial => {
                    let failures = row.count("failures")? + 1;
                    (failures, now.after(back_off(failures)))
                }
                RunState::Cancelled => (row.count("failures")?, now.after(BACK_OFF_MAX)),
                _ => (0, Timestamp(0)),
            };
            sqlx::query(
                "UPDATE destinations SET failures = $1, not_before = $2 \
                 WHERE id = (SELECT destination_id FROM exports WHERE id = $3)",
            )
            .bind(crate::row::bigint(failures))
            .bind(not_before.0)
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
            let body = serde_json::json!({ "state": state, "error_code": error_code });
            crate::settle::insert_event(&mut tx, "export.finished", &id.to_string(), &body).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The longest a destination is left alone: 6 hours.
const BACK_OFF_MAX: Duration = Duration::from_secs(6 * 3600);

/// How long a destination is left alone after so many failures in a row: 1 min,
/// doubling up to 6 h.
fn back_off(failures: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(9);
    Duration::from_secs(60 << doublings).min(BACK_OFF_MAX)
}

/// Counts one more reason for a run.
pub(crate) async fn add_trigger(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    run_id: &str,
    trigger: Trigger,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO run_triggers (run_id, reason, count, first_at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (run_id, reason) DO UPDATE SET count = run_triggers.count + 1",
    )
    .bind(run_id)
    .bind(trigger.as_str())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The reasons of a run, oldest first.
pub(crate) async fn triggers_of(pool: &sqlx::AnyPool, run_id: &str) -> Result<Vec<TriggerCount>> {
    let rows = sqlx::query("SELECT reason, count, first_at FROM run_triggers WHERE run_id = $1 ORDER BY first_at, reason")
        .bind(run_id)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(TriggerCount {
                reason: row.word("reason")?,
                count: row.count("count")?,
                first_at: row.time("first_at")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_six_hours() {
        assert_eq!(
            [1, 2, 3, 9, 10, 99].map(|n| back_off(n).as_secs() / 60),
            [1, 2, 4, 256, 360, 360]
        );
    }
}

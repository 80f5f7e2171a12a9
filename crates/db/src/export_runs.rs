//! Asking for exports and ending them.

use model::{DestinationId, ExportId, PatientId, RunState, Timestamp, Trigger};

use crate::exports::add_trigger;
use crate::holds::{BackOff, clear, hold_cancelled, hold_failed};
use crate::row::{Columns, bigint};
use crate::{Db, Error, Result, RunKind, lock};

/// How an export is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Ask<'a> {
    trigger: Option<Trigger>,
    full: bool,
    retry_of: Option<ExportId>,
    /// Only these; empty: all.
    patients: &'a [PatientId],
}

impl Db {
    /// Asks for an export: joins the queued one of the destination, or queues
    /// one. It takes over the reasons gathered so far; asked for by hand, it ends
    /// the waiting that failures and cancelling have brought. Returns the run that
    /// will do the work.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a disabled destination.
    pub async fn request_export(
        &self,
        destination: DestinationId,
        trigger: Option<Trigger>,
    ) -> Result<ExportId> {
        let ask = Ask {
            trigger,
            ..Ask::default()
        };
        self.queue_export(destination, ask).await
    }

    /// Asks for an export that sends everything again, in a new epoch of the
    /// destination: every watermark starts at 0.
    ///
    /// # Errors
    /// As [`Self::request_export`].
    pub async fn request_full_export(&self, destination: DestinationId) -> Result<ExportId> {
        let ask = Ask {
            trigger: Some(Trigger::Manual),
            full: true,
            ..Ask::default()
        };
        self.queue_export(destination, ask).await
    }

    /// Asks for an export of what is lacking of some patients; who joins a queued
    /// one that is for others gets both, who joins one that is for all gets that.
    ///
    /// # Errors
    /// As [`Self::request_export`], and for patients that are unknown or have no
    /// connection.
    pub async fn request_export_of(
        &self,
        destination: DestinationId,
        patients: &[PatientId],
    ) -> Result<ExportId> {
        let ask = Ask {
            trigger: Some(Trigger::Manual),
            patients,
            ..Ask::default()
        };
        self.queue_export(destination, ask).await
    }

    /// Asks for an export that makes up for one that did not deliver everything, for
    /// the same patients. It is planned from the watermarks as they stand: what was
    /// delivered is not sent again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for an export that is open or has
    /// completed, and for a disabled destination.
    pub async fn retry_export(&self, id: ExportId) -> Result<ExportId> {
        let export = self.export(id).await?;
        let refused = match export.state {
            RunState::Queued | RunState::Running => Some("has not ended yet"),
            RunState::Completed => {
                Some("delivered everything: `chartlift export start` asks for another")
            }
            RunState::Partial | RunState::Failed | RunState::Cancelled => None,
        };
        if let Some(why) = refused {
            return Err(Error::Conflict {
                what: format!("export {id} {why}"),
            });
        }
        let patients = self.export_patients(id).await?;
        let ask = Ask {
            trigger: Some(Trigger::Retry),
            retry_of: Some(id),
            patients: &patients,
            ..Ask::default()
        };
        self.queue_export(export.destination_id, ask).await
    }

    async fn queue_export(&self, destination: DestinationId, ask: Ask<'_>) -> Result<ExportId> {
        let (now, name) = (Timestamp::now().0, destination.to_string());
        let mut tx = self.writer.begin().await?;
        lock::destination(&mut tx, destination).await?;
        let queued = sqlx::query(
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
        let is_new = queued.rows_affected() > 0;
        crate::export_patients::narrow(&mut tx, id, is_new, ask.patients).await?;
        take_pending(&mut tx, id, &name).await?;
        if let Some(trigger) = ask.trigger {
            add_trigger(&mut tx, &id.to_string(), trigger).await?;
            clear(&mut tx, &name, ask.patients).await?;
        }
        if ask.full {
            begin_epoch(&mut tx, id, &name, now).await?;
        }
        if let Some(of) = ask.retry_of {
            sqlx::query("UPDATE exports SET retry_of = $1 WHERE id = $2 AND retry_of IS NULL")
                .bind(of.to_string())
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// Ends a running export. `failed` counts against the destination: the next
    /// automatic run waits. `partial` counts against the connections whose chunks
    /// failed. After `cancelled`, what it had planned is held until there is more
    /// of it. A start by hand, or enabling again, ends all waiting.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_export(
        &self,
        id: ExportId,
        state: RunState,
        error_code: Option<&str>,
        back_off: BackOff,
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut tx = self.writer.begin().await?;
        lock::subject_of(&mut tx, RunKind::Export, &id.to_string()).await?;
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
            match state {
                RunState::Failed => fail_destination(&mut tx, id, back_off, now).await?,
                RunState::Cancelled => hold_cancelled(&mut tx, &id.to_string()).await?,
                RunState::Partial => {
                    recover_destination(&mut tx, id).await?;
                    hold_failed(&mut tx, id, back_off, now).await?;
                }
                _ => recover_destination(&mut tx, id).await?,
            }
            let body = serde_json::json!({ "state": state, "error_code": error_code });
            crate::events::insert_event(&mut tx, "export.finished", &id.to_string(), &body).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Moves the reasons gathered for the destination's next export to it.
async fn take_pending(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: ExportId,
    destination_id: &str,
) -> Result<()> {
    // Taken away first: a settle that counts one more finds no row, and leaves its
    // reason to the export after this one.
    let pending = sqlx::query(
        "DELETE FROM pending_triggers WHERE destination_id = $1 RETURNING reason, count, first_at",
    )
    .bind(destination_id)
    .fetch_all(&mut **tx)
    .await?;
    for row in &pending {
        sqlx::query(
            "INSERT INTO run_triggers (run_id, reason, count, first_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (run_id, reason) DO UPDATE SET count = run_triggers.count + excluded.count",
        )
        .bind(id.to_string())
        .bind(row.text("reason")?)
        .bind(bigint(row.count("count")?))
        .bind(row.time("first_at")?.0)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// A new epoch: every watermark of the destination counts as 0 from now on.
async fn begin_epoch(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: ExportId,
    destination_id: &str,
    now: i64,
) -> Result<()> {
    sqlx::query("UPDATE destinations SET epoch = epoch + 1, updated_at = $1 WHERE id = $2")
        .bind(now)
        .bind(destination_id)
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE exports SET full_resend = 1 WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await?;
    sqlx::query(crate::destinations::MARK)
        .bind(now)
        .bind(destination_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn fail_destination(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: ExportId,
    back_off: BackOff,
    now: Timestamp,
) -> Result<()> {
    let row = sqlx::query(
        "UPDATE destinations SET failures = failures + 1 \
         WHERE id = (SELECT destination_id FROM exports WHERE id = $1) RETURNING id, failures",
    )
    .bind(id.to_string())
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query("UPDATE destinations SET not_before = $1 WHERE id = $2 AND failures = $3")
        .bind(now.after(back_off.after(row.count("failures")?)).0)
        .bind(row.text("id")?)
        .bind(bigint(row.count("failures")?))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The destination as a whole works.
async fn recover_destination(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: ExportId,
) -> Result<()> {
    sqlx::query(
        "UPDATE destinations SET failures = 0, not_before = 0 \
         WHERE id = (SELECT destination_id FROM exports WHERE id = $1)",
    )
    .bind(id.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

//! Step rows: the fence of every activity. Temporal may start a second attempt
//! while the first, cut off, still runs; each attempt takes the row's token, and
//! a save whose token is no longer the row's changes nothing and ends its caller
//! with [`Error::Lost`].

use model::Timestamp;
use seal::Place;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::row::{Columns, json};
use crate::{Db, Error, Result, RunKind, lock};

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRef {
    /// Whether a pull's or an export's.
    pub kind: RunKind,
    /// The run's id.
    pub run_id: String,
    /// The step's name within the run.
    pub name: String,
}

/// What claiming a step gave.
#[derive(Debug)]
pub enum StepClaim<R> {
    /// Nobody finished it: this attempt may work.
    Mine {
        /// The fence of this attempt.
        token: String,
        /// Attempts since progress was last saved, this one included.
        idle_attempts: u64,
        /// The progress an earlier attempt saved.
        progress: Option<Vec<u8>>,
    },
    /// An earlier attempt finished it, with this receipt.
    Done(R),
}

const PROGRESS: &str = "steps.progress";

/// What the seal of a step's progress names as its row.
fn sealed_row(run_id: &str, name: &str) -> String {
    format!("{run_id}/{name}")
}

impl Db {
    /// Progress as its column holds it.
    pub(crate) fn seal_progress(&self, step: &StepRef, progress: &[u8]) -> Result<String> {
        let place = Place {
            column: PROGRESS,
            row: &sealed_row(&step.run_id, &step.name),
        };
        Ok(self.keys.seal(place, progress)?)
    }

    /// The progress of a step, by its run and its name, as it was before it was sealed.
    pub(crate) fn open_progress(&self, run_id: &str, name: &str, sealed: &str) -> Result<Vec<u8>> {
        let place = Place {
            column: PROGRESS,
            row: &sealed_row(run_id, name),
        };
        Ok(self.keys.open(place, sealed)?)
    }

    /// Takes a step for a new attempt.
    ///
    /// # Errors
    /// [`Error::Lost`] if its run has ended without it.
    pub async fn claim_step<R: DeserializeOwned>(&self, step: &StepRef) -> Result<StepClaim<R>> {
        let now = Timestamp::now().0;
        let token = model::EventId::new().to_string().split_off(4);
        let mut tx = self.writer.begin().await?;
        let open = format!(
            "UPDATE {} SET updated_at = $1 WHERE id = $2 AND state = 'running'",
            step.kind.table()
        );
        let open = sqlx::query(sqlx::AssertSqlSafe(open))
            .bind(now)
            .bind(&step.run_id)
            .execute(&mut *tx)
            .await?;
        if open.rows_affected() == 0 {
            // The step itself may have ended the run: its answer was lost.
            return Ok(StepClaim::Done(receipt_of(&mut tx, step).await?));
        }
        let row = sqlx::query(
            "INSERT INTO steps (run_id, name, token, state, attempts, idle_attempts, updated_at) \
             VALUES ($1, $2, $3, 'running', 1, 1, $4) \
             ON CONFLICT (run_id, name) DO UPDATE SET token = excluded.token, attempts = steps.attempts + 1, \
             idle_attempts = steps.idle_attempts + 1, updated_at = excluded.updated_at \
             WHERE steps.state = 'running' RETURNING idle_attempts, progress_sealed",
        )
        .bind(&step.run_id)
        .bind(&step.name)
        .bind(&token)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        let claim = match row {
            Some(row) => {
                let sealed = row.raw::<Option<String>>("progress_sealed")?;
                let open = |text: String| self.open_progress(&step.run_id, &step.name, &text);
                StepClaim::Mine {
                    token,
                    idle_attempts: row.count("idle_attempts")?,
                    progress: sealed.map(open).transpose()?,
                }
            }
            None => StepClaim::Done(receipt_of(&mut tx, step).await?),
        };
        tx.commit().await?;
        Ok(claim)
    }

    /// Ends the step that plans a pull, and writes the progress that the planned
    /// steps begin with: all of them or none, so that no two plans mix.
    ///
    /// # Errors
    /// [`Error::Lost`] if another attempt holds the step.
    pub async fn save_pull_plan<R: Serialize + Sync>(
        &self,
        step: &StepRef,
        token: &str,
        planned: &[(String, Vec<u8>)],
        receipt: &R,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        finish_step(&mut tx, step, token, receipt).await?;
        for (name, progress) in planned {
            let planned = StepRef {
                name: name.clone(),
                ..step.clone()
            };
            let sealed = self.seal_progress(&planned, progress)?;
            sqlx::query(
                "INSERT INTO steps (run_id, name, token, state, attempts, idle_attempts, progress_sealed, updated_at) \
                 VALUES ($1, $2, '', 'running', 0, 0, $3, $4)",
            )
            .bind(&planned.run_id)
            .bind(name)
            .bind(sealed)
            .bind(Timestamp::now().0)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The progress that a step has saved, for whoever does not claim it; none where
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Sealed`] if the key is not the one it was sealed with.
    pub async fn step_progress(&self, step: &StepRef) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT progress_sealed FROM steps WHERE run_id = $1 AND name = $2")
            .bind(&step.run_id)
            .bind(&step.name)
            .fetch_optional(&self.reader)
            .await?;
        let sealed = row.map(|row| row.raw::<Option<String>>("progress_sealed"));
        let open = |text: String| self.open_progress(&step.run_id, &step.name, &text);
        sealed.transpose()?.flatten().map(open).transpose()
    }

    /// Saves the progress of a pull's step, in a transaction of its caller's; with a
    /// receipt, ends the step.
    ///
    /// # Errors
    /// [`Error::Lost`] as for [`Db::save_pull_step`].
    pub(crate) async fn save_progress<R: Serialize>(
        &self,
        tx: &mut sqlx::Transaction<'_, sqlx::Any>,
        step: &StepRef,
        token: &str,
        progress: &[u8],
        receipt: Option<&R>,
    ) -> Result<()> {
        let sealed = self.seal_progress(step, progress)?;
        // Settle moves the phase and then reads what is staged: nothing may be named
        // behind its back.
        lock::run(tx, RunKind::Pull, &step.run_id).await?;
        let saved = sqlx::query(
            "UPDATE steps SET progress_sealed = $1, idle_attempts = 0, updated_at = $2, state = $3, receipt = $4 \
             WHERE run_id = $5 AND name = $6 AND token = $7 AND state = 'running' AND EXISTS \
             (SELECT 1 FROM pulls WHERE pulls.id = $5 AND pulls.state = 'running' AND pulls.phase = 'working')",
        )
        .bind(sealed)
        .bind(Timestamp::now().0)
        .bind(if receipt.is_some() { "done" } else { "running" })
        .bind(receipt.map(json))
        .bind(&step.run_id)
        .bind(&step.name)
        .bind(token)
        .execute(&mut **tx)
        .await?;
        if saved.rows_affected() == 0 {
            return Err(Error::Lost);
        }
        Ok(())
    }
}

/// The receipt of a finished step; an unfinished one is lost.
async fn receipt_of<R: DeserializeOwned>(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    step: &StepRef,
) -> Result<R> {
    let row =
        sqlx::query("SELECT receipt FROM steps WHERE run_id = $1 AND name = $2 AND state = 'done'")
            .bind(&step.run_id)
            .bind(&step.name)
            .fetch_optional(&mut **tx)
            .await?;
    row.ok_or(Error::Lost)?.json("receipt")
}

/// Ends a step in a transaction of its caller's, or loses.
pub(crate) async fn finish_step<R: Serialize>(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    step: &StepRef,
    token: &str,
    receipt: &R,
) -> Result<()> {
    lock::run(tx, step.kind, &step.run_id).await?;
    let done = sqlx::query(
        "UPDATE steps SET state = 'done', idle_attempts = 0, receipt = $1, updated_at = $2 \
         WHERE run_id = $3 AND name = $4 AND token = $5 AND state = 'running'",
    )
    .bind(json(receipt))
    .bind(Timestamp::now().0)
    .bind(&step.run_id)
    .bind(&step.name)
    .bind(token)
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        Err(Error::Lost)
    } else {
        Ok(())
    }
}

//! Tests and rehearsals of destinations: asked for here, carried out by a worker.

use model::{DestinationId, ProbeId, ProbeKind, ProbeReport, RunState, Timestamp};
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::row::{Columns, json};
use crate::{Db, Error, Result, lock};

/// A test or a rehearsal of a destination.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its id.
    pub id: ProbeId,
    /// Of which destination.
    pub destination_id: DestinationId,
    /// Which of the two.
    pub kind: ProbeKind,
    /// Failed where a check failed, or where it could not be carried out.
    pub state: RunState,
    /// What it found; empty until it has ended.
    pub report: ProbeReport,
    /// Why it failed: the code of the first check that did, or of what kept it from
    /// being carried out.
    pub error_code: Option<String>,
    /// When asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "id, destination_id, kind, state, report, error_code, created_at, finished_at";

fn read(row: &AnyRow) -> Result<Probe> {
    Ok(Probe {
        id: row.word("id")?,
        destination_id: row.word("destination_id")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        report: row.json("report")?,
        error_code: row.raw("error_code")?,
        created_at: row.time("created_at")?,
        finished_at: row.optional_time("finished_at")?,
    })
}

/// Queues a probe, or joins the one of its kind that has not ended.
pub(crate) async fn queue(
    tx: &mut Tx<'_>,
    destination: DestinationId,
    kind: ProbeKind,
) -> Result<ProbeId> {
    sqlx::query(
        "INSERT INTO probes (id, destination_id, kind, state, report, created_at) \
         VALUES ($1, $2, $3, 'queued', '{}', $4) \
         ON CONFLICT (destination_id, kind) WHERE state IN ('queued', 'running') DO NOTHING",
    )
    .bind(ProbeId::new().to_string())
    .bind(destination.to_string())
    .bind(kind.as_str())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query(
        "SELECT id FROM probes WHERE destination_id = $1 AND kind = $2 AND state IN ('queued', 'running')",
    )
    .bind(destination.to_string())
    .bind(kind.as_str())
    .fetch_one(&mut **tx)
    .await?;
    row.word("id")
}

impl Db {
    /// Asks for a probe, or joins the one of its kind that has not ended. Returns
    /// the one that will tell.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn request_probe(
        &self,
        destination: DestinationId,
        kind: ProbeKind,
    ) -> Result<ProbeId> {
        self.destination(&destination.to_string()).await?;
        let mut tx = self.writer.begin().await?;
        lock::destination(&mut tx, destination).await?;
        let id = queue(&mut tx, destination, kind).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// A probe.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn probe(&self, id: ProbeId) -> Result<Probe> {
        let text = format!("SELECT {COLUMNS} FROM probes WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.writer)
            .await?;
        read(&row.ok_or_else(|| Error::NotFound {
            noun: "probe",
            id: id.to_string(),
        })?)
    }

    /// The latest test of a destination, if there was one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn latest_test(&self, destination: DestinationId) -> Result<Option<Probe>> {
        let text = format!(
            "SELECT {COLUMNS} FROM probes WHERE destination_id = $1 AND kind = 'test' ORDER BY id DESC LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Probes that have not ended, the oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn open_probes(&self, limit: u32) -> Result<Vec<Probe>> {
        let text = format!(
            "SELECT {COLUMNS} FROM probes WHERE state IN ('queued', 'running') ORDER BY id LIMIT $1"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Notes that a probe is at work, and gives it.
    ///
    /// # Errors
    /// [`Error::Lost`] if it has ended, or is gone with its destination.
    pub async fn begin_probe(&self, id: ProbeId) -> Result<Probe> {
        let text = format!(
            "UPDATE probes SET state = 'running' WHERE id = $1 AND state IN ('queued', 'running') \
             RETURNING {COLUMNS}"
        );
        let begun = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.writer)
            .await?;
        read(&begun.ok_or(Error::Lost)?)
    }

    /// Ends a probe with what it found; nothing if it has ended. The first test that
    /// passes enables its destination.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_probe(
        &self,
        id: ProbeId,
        report: &ProbeReport,
        error_code: Option<&str>,
    ) -> Result<()> {
        let state = if error_code.is_some() {
            RunState::Failed
        } else {
            RunState::Completed
        };
        let now = Timestamp::now().0;
        let mut tx = self.writer.begin().await?;
        lock::destination_of(&mut tx, id).await?;
        let ended = sqlx::query(
            "UPDATE probes SET state = $1, report = $2, error_code = $3, finished_at = $4 \
             WHERE id = $5 AND state IN ('queued', 'running')",
        )
        .bind(state.as_str())
        .bind(json(report))
        .bind(error_code)
        .bind(now)
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 && state == RunState::Completed {
            sqlx::query(
                "UPDATE destinations SET enabled = 1, awaits_test = 0, updated_at = $1 WHERE awaits_test = 1 \
                 AND id = (SELECT destination_id FROM probes WHERE id = $2 AND kind = 'test')",
            )
            .bind(now)
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Ends probes that were asked for before `before` and that nobody has carried
    /// out.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn give_up_probes(&self, before: Timestamp) -> Result<u64> {
        let ended = sqlx::query(
            "UPDATE probes SET state = 'failed', error_code = 'timeout', finished_at = $1 \
             WHERE state IN ('queued', 'running') AND created_at < $2",
        )
        .bind(Timestamp::now().0)
        .bind(before.0)
        .execute(&self.writer)
        .await?;
        Ok(ended.rows_affected())
    }
}

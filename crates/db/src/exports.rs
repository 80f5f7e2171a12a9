//! Exports, as they stand.

use model::{DestinationId, ExportCounts, ExportId, RunPhase, RunState, Timestamp, Trigger};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::page;
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
    /// Whether everything was to be sent again.
    pub full: bool,
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

const COLUMNS: &str = "id, destination_id, state, phase, retry_of, full_resend, counts, patients, part_count, size_bytes, \
     publication_count, error_code, created_at, started_at, finished_at";

fn read(row: &AnyRow) -> Result<Export> {
    Ok(Export {
        id: row.word("id")?,
        destination_id: row.word("destination_id")?,
        state: row.word("state")?,
        phase: row.word("phase")?,
        retry_of: row.optional_word("retry_of")?,
        full: row.flag("full_resend")?,
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
        let of = page::only("destination_id", 1, destination.is_some());
        let text = format!(
            "SELECT {COLUMNS} FROM exports WHERE {of} AND id < $2 ORDER BY id DESC LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination.map(|id| id.to_string()).unwrap_or_default())
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }
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

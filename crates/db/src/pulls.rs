//! Pulls as they are stored: what became of one, and ending it. Asking for one:
//! `pull_requests.rs`; claiming it: `claims.rs`.

use std::collections::BTreeMap;

use model::{
    AttachmentCounts, ConnectionId, PullCounts, PullId, PullKind, PullMode, RunPhase, RunState,
    Timestamp, TypeNote, TypeOutcome,
};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::exports::{TriggerCount, triggers_of};
use crate::page;
use crate::row::{Columns, json};
use crate::{Db, Error, Result, RunKind, lock};

/// One run of fetching a connection.
#[derive(Debug, Clone, Serialize)]
pub struct Pull {
    /// Its id.
    pub id: PullId,
    /// The connection fetched.
    pub connection_id: ConnectionId,
    /// What it does.
    pub kind: PullKind,
    /// How it stands.
    pub state: RunState,
    /// Where a running one stands.
    pub phase: RunPhase,
    /// Whether it was to ask for everything, whatever the connection has.
    pub full: bool,
    /// The run this one makes up for.
    pub retry_of: Option<PullId>,
    /// The batch it wrote, if anything had changed.
    pub batch_seq: Option<u64>,
    /// Pages read.
    pub pages: u64,
    /// What happened to the resources it fetched.
    pub counts: PullCounts,
    /// What became of attachments; none where they were not looked for.
    pub attachments: Option<AttachmentCounts>,
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

/// What a pull got of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PullType {
    /// The type.
    pub resource_type: String,
    /// What was asked for of it; none where it was met by reference or on the way, and
    /// of pulls before there were two modes.
    pub mode: Option<PullMode>,
    /// How it ended.
    pub outcome: TypeOutcome,
    /// Why it did not end well.
    pub error_code: Option<String>,
    /// Pages read.
    pub pages: u64,
    /// What happened to its resources.
    pub counts: PullCounts,
    /// What is to be said of it beside.
    pub notes: Vec<TypeNote>,
}

const COLUMNS: &str = "id, connection_id, kind, state, phase, asks_full, retry_of, batch_seq, pages, counts, attachments, error_code, created_at, \
     started_at, finished_at";

fn read(row: &AnyRow) -> Result<Pull> {
    Ok(Pull {
        id: row.word("id")?,
        connection_id: row.word("connection_id")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        phase: row.word("phase")?,
        full: row.flag("asks_full")?,
        retry_of: row.optional_word("retry_of")?,
        batch_seq: row.optional_count("batch_seq")?,
        pages: row.count("pages")?,
        counts: row.json("counts")?,
        attachments: row.optional_json("attachments")?,
        error_code: row.raw("error_code")?,
        created_at: row.time("created_at")?,
        started_at: row.optional_time("started_at")?,
        finished_at: row.optional_time("finished_at")?,
        triggers: Vec::new(),
    })
}

impl Db {
    /// Ends a running pull that did not settle; 0 rows (already ended) is fine.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_pull(&self, id: PullId, state: RunState, error_code: &str) -> Result<()> {
        let now = Timestamp::now().0;
        let mut tx = self.writer.begin().await?;
        lock::subject_of(&mut tx, RunKind::Pull, &id.to_string()).await?;
        let ended = sqlx::query(
            "UPDATE pulls SET state = $1, phase = 'done', error_code = $2, finished_at = $3, updated_at = $3 \
             WHERE id = $4 AND state IN ('queued', 'running')",
        )
        .bind(state.as_str())
        .bind(error_code)
        .bind(now)
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 {
            let body = serde_json::json!({ "state": state, "error_code": error_code });
            crate::events::insert_event(&mut tx, "pull.finished", &id.to_string(), &body).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// A pull, with its triggers.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn pull(&self, id: PullId) -> Result<Pull> {
        let text = format!("SELECT {COLUMNS} FROM pulls WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        let mut pull = read(&row.ok_or_else(|| Error::NotFound {
            noun: "pull",
            id: id.to_string(),
        })?)?;
        pull.triggers = triggers_of(&self.reader, &id.to_string()).await?;
        Ok(pull)
    }

    /// Pulls, newest first, of one connection or all; before `before`, at most
    /// `limit`. Without their triggers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pulls(
        &self,
        connection: Option<ConnectionId>,
        before: Option<PullId>,
        limit: u32,
    ) -> Result<Vec<Pull>> {
        let of = page::only("connection_id", 1, connection.is_some());
        let text =
            format!("SELECT {COLUMNS} FROM pulls WHERE {of} AND id < $2 ORDER BY id DESC LIMIT $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(connection.map(|id| id.to_string()).unwrap_or_default())
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// What a pull got of each type, by type.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pull_types(&self, id: PullId) -> Result<Vec<PullType>> {
        let rows = sqlx::query(
            "SELECT resource_type, mode, outcome, error_code, pages, counts, notes FROM pull_types WHERE pull_id = $1 \
             ORDER BY resource_type",
        )
        .bind(id.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(PullType {
                    resource_type: row.text("resource_type")?,
                    mode: row.optional_word("mode")?,
                    outcome: row.word("outcome")?,
                    error_code: row.raw("error_code")?,
                    pages: row.count("pages")?,
                    counts: row.json("counts")?,
                    notes: row.json("notes")?,
                })
            })
            .collect()
    }
}

/// Stores the coverage of a pull, in the transaction that ends it.
pub(crate) async fn insert_types(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    pull: PullId,
    types: &BTreeMap<String, PullType>,
) -> Result<()> {
    for of in types.values() {
        sqlx::query(
            "INSERT INTO pull_types (pull_id, resource_type, mode, outcome, error_code, pages, counts, notes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(pull.to_string())
        .bind(&of.resource_type)
        .bind(of.mode.map(PullMode::as_str))
        .bind(of.outcome.as_str())
        .bind(&of.error_code)
        .bind(crate::row::bigint(of.pages))
        .bind(json(&of.counts))
        .bind(json(&of.notes))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

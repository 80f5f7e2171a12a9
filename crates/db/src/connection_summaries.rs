//! What lists show of connections.

use model::{ConnectionId, ConnectionStatus, PatientId, SourceId, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::page;
use crate::row::Columns;
use crate::schedules::{DUE_AT, interval};
use crate::{Db, Error, Result};

/// What lists show of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionSummary {
    /// Its id.
    pub id: ConnectionId,
    /// Whose record.
    pub patient_id: PatientId,
    /// The operator's name for that person.
    pub external_id: Option<String>,
    /// At which source.
    pub source_id: SourceId,
    /// Whether it can be pulled.
    pub status: ConnectionStatus,
    /// Whether it is pulled: it and its source are enabled.
    pub enabled: bool,
    /// The number of the last batch in its log; 0 before the first.
    pub head_seq: u64,
    /// Its own interval between two pulls, in seconds; 0: none by a schedule; none: as
    /// its source has it.
    pub pull_interval_s: Option<u32>,
    /// When it is pulled next by a schedule; none where none applies, or it is disabled
    /// or not active.
    pub next_pull_at: Option<Timestamp>,
    /// When added.
    pub created_at: Timestamp,
}

/// What [`read_summary`] reads of a connection, its patient and its source.
pub(crate) fn columns() -> String {
    format!(
        "connections.id AS id, connections.patient_id AS patient_id, patients.external_id AS external_id, \
         connections.source_id AS source_id, connections.status AS status, connections.enabled * sources.enabled AS enabled, \
         connections.head_seq AS head_seq, connections.created_at AS created_at, \
         connections.pull_interval_s AS pull_interval_s, \
         CASE WHEN connections.pull_every_s > 0 THEN {DUE_AT} END AS due_at"
    )
}

pub(crate) fn read_summary(row: &AnyRow) -> Result<ConnectionSummary> {
    let (status, enabled) = (row.word("status")?, row.flag("enabled")?);
    let is_pulled = enabled && status == ConnectionStatus::Active;
    Ok(ConnectionSummary {
        id: row.word("id")?,
        patient_id: row.word("patient_id")?,
        external_id: row.raw("external_id")?,
        source_id: row.word("source_id")?,
        status,
        enabled,
        head_seq: row.count("head_seq")?,
        pull_interval_s: interval(row.optional_count("pull_interval_s")?)?,
        next_pull_at: row.optional_time("due_at")?.filter(|_| is_pulled),
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// Connections in the order they were added, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn connections(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionSummary>> {
        let text = select("connections.id > $1 ORDER BY connections.id LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read_summary).collect()
    }

    /// Connections, newest first, of one patient or source or all; before `before`,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn newest_connections(
        &self,
        patient: Option<PatientId>,
        source: Option<SourceId>,
        before: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionSummary>> {
        let of_patient = page::only("connections.patient_id", 1, patient.is_some());
        let at_source = page::only("connections.source_id", 2, source.is_some());
        let text = select(&format!(
            "{of_patient} AND {at_source} AND connections.id < $3 ORDER BY connections.id DESC LIMIT $4"
        ));
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(patient.map(|id| id.to_string()).unwrap_or_default())
            .bind(source.map(|id| id.to_string()).unwrap_or_default())
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read_summary).collect()
    }

    /// What lists show of a connection.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection_summary(&self, id: ConnectionId) -> Result<ConnectionSummary> {
        let row = sqlx::query(sqlx::AssertSqlSafe(one()))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        read_summary(&row.ok_or_else(|| not_found(id))?)
    }
}

/// The query of one summary.
pub(crate) fn one() -> String {
    select("connections.id = $1")
}

/// The query of the summaries that fulfil a condition.
fn select(condition: &str) -> String {
    format!(
        "SELECT {} FROM connections JOIN patients ON patients.id = connections.patient_id \
         JOIN sources ON sources.id = connections.source_id WHERE {condition}",
        columns()
    )
}

pub(crate) fn not_found(id: ConnectionId) -> Error {
    Error::NotFound {
        noun: "connection",
        id: id.to_string(),
    }
}

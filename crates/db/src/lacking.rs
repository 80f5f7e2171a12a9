//! What a destination lacks: the spans of the logs that it has not had.

use model::{ConnectionId, DestinationId, ExportId, PatientId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Db, Result};

/// A connection that a destination has not had whole.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The destination's watermark; 0 for nothing yet.
    pub from_seq: u64,
    /// The connection's head.
    pub to_seq: u64,
    /// Its index at that head.
    pub index_key: Option<String>,
    /// Rows in the batches of the span: a bound on what there is to write.
    pub row_count: u64,
}

/// A span as a chunk reads it.
#[derive(Debug, Clone)]
pub struct ChunkSpan {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose record.
    pub patient_id: PatientId,
    /// The source's identity.
    pub source_identity: String,
    /// Batches after this one.
    pub from_seq: u64,
    /// Up to this one.
    pub to_seq: u64,
    /// The index pinned by the plan.
    pub index_key: Option<String>,
}

/// The number up to which a destination has a connection, in its epoch.
const PASSED: &str =
    "COALESCE(CASE WHEN watermarks.epoch = destinations.epoch THEN watermarks.seq END, 0)";

pub(crate) fn read_span(row: &AnyRow) -> Result<ChunkSpan> {
    Ok(ChunkSpan {
        connection_id: row.word("connection_id")?,
        patient_id: row.word("patient_id")?,
        source_identity: row.text("identity")?,
        from_seq: row.count("from_seq")?,
        to_seq: row.count("to_seq")?,
        index_key: row.raw("index_key")?,
    })
}

impl Db {
    /// The connections whose head a destination has not passed, that are not held
    /// back from it and of a patient whom the export is for; by id, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn candidates(
        &self,
        destination: DestinationId,
        export: ExportId,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let text = format!(
            "SELECT connections.id AS id, connections.head_seq AS head_seq, connections.index_key AS index_key, \
             {PASSED} AS from_seq, \
             CAST((SELECT COALESCE(SUM(batches.row_count), 0) FROM batches WHERE batches.connection_id = connections.id \
             AND batches.seq > {PASSED}) \
             AS BIGINT) AS row_count \
             FROM destinations CROSS JOIN connections LEFT JOIN watermarks ON \
             watermarks.destination_id = destinations.id AND watermarks.connection_id = connections.id \
             WHERE destinations.id = $1 AND connections.head_seq > \
             {PASSED} \
             AND NOT {} AND {} ORDER BY connections.id LIMIT $2",
            crate::holds::is_held("destinations.id", "$3"),
            crate::export_patients::is_for("$4")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination.to_string())
            .bind(i64::from(limit))
            .bind(Timestamp::now().0)
            .bind(export.to_string())
            .fetch_all(&self.writer)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Candidate {
                    connection_id: row.word("id")?,
                    from_seq: row.count("from_seq")?,
                    to_seq: row.count("head_seq")?,
                    index_key: row.raw("index_key")?,
                    row_count: row.count("row_count")?,
                })
            })
            .collect()
    }

    /// What a destination lacks, held back or not: the spans behind the connection
    /// `after`, by connection, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn lacking(
        &self,
        destination: DestinationId,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ChunkSpan>> {
        let text = format!(
            "SELECT connections.id AS connection_id, connections.patient_id AS patient_id, sources.identity AS identity, \
             {PASSED} AS from_seq, \
             connections.head_seq AS to_seq, connections.index_key AS index_key \
             FROM destinations CROSS JOIN connections JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN watermarks ON watermarks.destination_id = destinations.id \
             AND watermarks.connection_id = connections.id WHERE destinations.id = $1 AND connections.id > $2 \
             AND connections.head_seq > {PASSED} ORDER BY connections.id LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination.to_string())
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read_span).collect()
    }
}

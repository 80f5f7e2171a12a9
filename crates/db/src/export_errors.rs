//! What an export did not deliver, by connection.

use model::{ConnectionId, ExportCounts, ExportId, PatientId};

use crate::page;
use crate::row::Columns;
use crate::{Db, Result};

/// A connection whose records an export did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportError {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose record.
    pub patient_id: PatientId,
    /// Why not.
    pub error_code: Option<String>,
    /// Its rows: all of them failed.
    pub counts: ExportCounts,
}

impl Db {
    /// The connections that an export did not deliver, newest first; before
    /// `before`, at most `limit`. Of old exports they are forgotten.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn export_errors(
        &self,
        export: ExportId,
        before: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ExportError>> {
        // What failed in one plan of an export may be in its next one again: the
        // latest plan tells, as plan ids rise.
        let rows = sqlx::query(
            "SELECT export_spans.connection_id AS connection_id, connections.patient_id AS patient_id, \
             export_spans.error_code AS error_code, export_spans.counts AS counts FROM export_spans \
             JOIN connections ON connections.id = export_spans.connection_id \
             WHERE export_spans.export_id = $1 AND export_spans.state = 'failed' \
             AND export_spans.connection_id < $2 AND export_spans.plan_id = \
             (SELECT MAX(other.plan_id) FROM export_spans AS other WHERE other.export_id = export_spans.export_id \
             AND other.connection_id = export_spans.connection_id) ORDER BY export_spans.connection_id DESC LIMIT $3",
        )
        .bind(export.to_string())
        .bind(page::before(before))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ExportError {
                    connection_id: row.word("connection_id")?,
                    patient_id: row.word("patient_id")?,
                    error_code: row.raw("error_code")?,
                    counts: row.json("counts")?,
                })
            })
            .collect()
    }
}

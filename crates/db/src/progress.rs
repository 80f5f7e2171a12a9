//! How far a running run has come.

use model::{ExportId, PullId};

use crate::row::Columns;
use crate::{Db, Result};

/// How far a pull has come: what lies durable in staging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Resources fetched, before repetitions are dropped.
    pub resources: u64,
    /// The size of the staging objects they lie in.
    pub size_bytes: u64,
}

/// How far an export has come in the plan at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportProgress {
    /// Connections in the plan.
    pub connections: u64,
    /// Those whose parts are written; a publication makes them visible.
    pub connections_written: u64,
    /// Those that failed.
    pub connections_failed: u64,
}

impl Db {
    /// How far a running pull has come.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn pull_progress(&self, pull: PullId) -> Result<PullProgress> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(row_count), 0) AS BIGINT) AS resources, \
             CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) AS size_bytes FROM staging_objects WHERE pull_id = $1",
        )
        .bind(pull.to_string())
        .fetch_one(&self.reader)
        .await?;
        Ok(PullProgress {
            resources: row.count("resources")?,
            size_bytes: row.count("size_bytes")?,
        })
    }

    /// How far a running export has come.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn export_progress(&self, export: ExportId) -> Result<ExportProgress> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS connections, \
             CAST(COALESCE(SUM(CASE WHEN export_spans.state = 'delivered' THEN 1 ELSE 0 END), 0) AS BIGINT) AS written, \
             CAST(COALESCE(SUM(CASE WHEN export_spans.state = 'failed' THEN 1 ELSE 0 END), 0) AS BIGINT) AS failed \
             FROM exports JOIN export_spans ON export_spans.export_id = exports.id \
             AND export_spans.plan_id = exports.plan_id WHERE exports.id = $1",
        )
        .bind(export.to_string())
        .fetch_one(&self.reader)
        .await?;
        Ok(ExportProgress {
            connections: row.count("connections")?,
            connections_written: row.count("written")?,
            connections_failed: row.count("failed")?,
        })
    }
}

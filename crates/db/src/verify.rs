//! What `verify` asks: everything that has ended or is numbered, in the order in
//! which it may be judged while runs go on. Reads only.
//!
//! What must agree with itself is read in one statement each: two statements may
//! have a commit between them.

mod accounts;
mod logs;

use std::collections::HashMap;

use model::{ConnectionId, DestinationId, ExportId, FileFormat, RunState};

use crate::row::Columns;
use crate::{Db, Error, Result};

pub use accounts::{ExportAccount, ExportTotals, PullAccount};
pub use logs::{HeldObject, LogState, LoggedBatch, StoredNames};

/// What a destination is said to have.
#[derive(Debug, Clone)]
pub struct DestinationState {
    /// The destination.
    pub id: DestinationId,
    /// Its folder.
    pub location: String,
    /// How its files are written.
    pub format: FileFormat,
    /// Its epoch.
    pub epoch: u64,
    /// The last adopted publication.
    pub last_publication: u64,
    /// Its watermarks in that epoch.
    pub watermarks: Vec<(ConnectionId, u64)>,
}

/// How far a destination is now, and whether somebody is at work on it.
#[derive(Debug, Clone)]
pub struct DestinationProgress {
    /// The last adopted publication.
    pub last_publication: u64,
    /// The export that runs.
    pub running: Option<ExportId>,
}

/// A file as a chunk wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPart {
    /// Its rows.
    pub row_count: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl Db {
    /// The pulls and exports that run now, by id.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn running_runs(&self) -> Result<Vec<String>> {
        let rows = sqlx::query(
            "SELECT id FROM pulls WHERE state = 'running' UNION ALL SELECT id FROM exports WHERE state = 'running' \
             ORDER BY id",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| row.text("id")).collect()
    }

    /// Every destination with its last publication and its watermarks, of one
    /// moment; but for those that have never passed a test, which have had nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn destination_states(&self) -> Result<Vec<DestinationState>> {
        let rows = sqlx::query(
            "SELECT destinations.id AS id, destinations.location AS location, destinations.format AS format, \
             destinations.epoch AS epoch, destinations.last_publication AS last_publication, \
             watermarks.connection_id AS connection_id, watermarks.seq AS seq FROM destinations \
             LEFT JOIN watermarks ON watermarks.destination_id = destinations.id \
             AND watermarks.epoch = destinations.epoch WHERE destinations.awaits_test = 0 ORDER BY destinations.id, watermarks.connection_id",
        )
        .fetch_all(&self.reader)
        .await?;
        let mut states: Vec<DestinationState> = Vec::new();
        for row in &rows {
            let id = row.word("id")?;
            if states.last().is_none_or(|last| last.id != id) {
                states.push(DestinationState {
                    id,
                    location: row.text("location")?,
                    format: row.word("format")?,
                    epoch: row.count("epoch")?,
                    last_publication: row.count("last_publication")?,
                    watermarks: Vec::new(),
                });
            }
            let watermark = row
                .optional_word("connection_id")?
                .zip(row.optional_count("seq")?);
            if let Some((state, watermark)) = states.last_mut().zip(watermark) {
                state.watermarks.push(watermark);
            }
        }
        Ok(states)
    }

    /// How far a destination is now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn destination_progress(
        &self,
        destination: DestinationId,
    ) -> Result<DestinationProgress> {
        let row = sqlx::query(
            "SELECT destinations.last_publication AS last_publication, exports.id AS running FROM destinations \
             LEFT JOIN exports ON exports.destination_id = destinations.id AND exports.state = 'running' \
             WHERE destinations.id = $1",
        )
        .bind(destination.to_string())
        .fetch_optional(&self.reader)
        .await?
        .ok_or_else(|| Error::NotFound { noun: "destination", id: destination.to_string() })?;
        Ok(DestinationProgress {
            last_publication: row.count("last_publication")?,
            running: row.optional_word("running")?,
        })
    }

    /// The files that the chunks of a plan wrote, by path, as far as that is
    /// still known.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn written_parts(
        &self,
        export: ExportId,
        plan_id: &str,
    ) -> Result<HashMap<String, WrittenPart>> {
        let rows = sqlx::query(
            "SELECT path, row_count, size_bytes, sha256 FROM parts WHERE export_id = $1 AND plan_id = $2",
        )
        .bind(export.to_string())
        .bind(plan_id)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                let part = WrittenPart {
                    row_count: row.count("row_count")?,
                    size_bytes: row.count("size_bytes")?,
                    sha256: row.text("sha256")?,
                };
                Ok((row.text("path")?, part))
            })
            .collect()
    }

    /// The state of an export of this destination; none where it has no such.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn export_state(
        &self,
        destination: DestinationId,
        export: ExportId,
    ) -> Result<Option<RunState>> {
        let row = sqlx::query("SELECT state FROM exports WHERE id = $1 AND destination_id = $2")
            .bind(export.to_string())
            .bind(destination.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| row.word("state")).transpose()
    }
}

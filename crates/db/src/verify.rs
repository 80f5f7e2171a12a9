//! What `verify` asks: everything that has ended or is numbered, in the order in
//! which it may be judged while runs go on. Reads only.
//!
//! What must agree with itself is read in one statement each: two statements may
//! have a commit between them.

use model::{
    ConnectionId, DestinationId, ExportCounts, ExportId, FileFormat, PullCounts, PullId, RunState,
};

use crate::row::Columns;
use crate::{Db, Error, Result};

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

/// The log of a connection.
#[derive(Debug, Clone)]
pub struct LogState {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The number of its last batch.
    pub head_seq: u64,
    /// Its index at that head.
    pub index_key: Option<String>,
}

/// The counts of a pull that has ended, and what they should agree with.
#[derive(Debug, Clone)]
pub struct PullAccount {
    /// The pull.
    pub id: PullId,
    /// How it ended.
    pub state: RunState,
    /// Its counts.
    pub counts: PullCounts,
    /// The sum of its types' counts.
    pub types: PullCounts,
    /// The batch it says it wrote.
    pub batch_seq: Option<u64>,
    /// The rows and tombstones of that batch, while it has a row of its own.
    pub batch_rows: Option<(u64, u64)>,
}

/// The counts of an export that has ended, and what they should agree with.
#[derive(Debug, Clone)]
pub struct ExportAccount {
    /// The export.
    pub id: ExportId,
    /// How it ended.
    pub state: RunState,
    /// Its counts.
    pub counts: ExportCounts,
    /// Files, bytes and publications it says it made.
    pub stated: ExportTotals,
    /// What the rows of its publications say.
    pub published: ExportTotals,
    /// Rows in those publications.
    pub published_rows: u64,
}

/// What an export made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportTotals {
    /// Files.
    pub part_count: u64,
    /// Their size.
    pub size_bytes: u64,
    /// Publications.
    pub publication_count: u64,
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
    /// moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn destination_states(&self) -> Result<Vec<DestinationState>> {
        let rows = sqlx::query(
            "SELECT destinations.id AS id, destinations.location AS location, destinations.format AS format, \
             destinations.epoch AS epoch, destinations.last_publication AS last_publication, \
             watermarks.connection_id AS connection_id, watermarks.seq AS seq FROM destinations \
             LEFT JOIN watermarks ON watermarks.destination_id = destinations.id \
             AND watermarks.epoch = destinations.epoch ORDER BY destinations.id, watermarks.connection_id",
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

    /// The logs of the connections after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn log_states(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<LogState>> {
        let rows = sqlx::query(
            "SELECT id, head_seq, index_key FROM connections WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(LogState {
                    connection_id: row.word("id")?,
                    head_seq: row.count("head_seq")?,
                    index_key: row.raw("index_key")?,
                })
            })
            .collect()
    }

    /// The accounts of the pulls that have ended, by id, after `after`, at most
    /// `limit`. What a pull says of itself does not change any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pull_accounts(
        &self,
        after: Option<PullId>,
        limit: u32,
    ) -> Result<Vec<PullAccount>> {
        let rows = sqlx::query(
            "SELECT pulls.id AS id, pulls.state AS state, pulls.counts AS counts, pulls.batch_seq AS batch_seq, \
             batches.row_count AS row_count, batches.deleted_count AS deleted_count FROM pulls \
             LEFT JOIN batches ON batches.pull_id = pulls.id AND batches.connection_id = pulls.connection_id \
             AND batches.seq = pulls.batch_seq \
             WHERE pulls.id > $1 AND pulls.state NOT IN ('queued', 'running') ORDER BY pulls.id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        let mut accounts = rows
            .iter()
            .map(|row| {
                Ok(PullAccount {
                    id: row.word("id")?,
                    state: row.word("state")?,
                    counts: row.json("counts")?,
                    types: PullCounts::default(),
                    batch_seq: row.optional_count("batch_seq")?,
                    batch_rows: row
                        .optional_count("row_count")?
                        .zip(row.optional_count("deleted_count")?),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let Some((first, last)) = accounts
            .first()
            .map(|of| of.id)
            .zip(accounts.last().map(|of| of.id))
        else {
            return Ok(accounts);
        };
        let rows = sqlx::query(
            "SELECT pull_id, counts FROM pull_types WHERE pull_id >= $1 AND pull_id <= $2",
        )
        .bind(first.to_string())
        .bind(last.to_string())
        .fetch_all(&self.reader)
        .await?;
        for row in &rows {
            let id: PullId = row.word("pull_id")?;
            if let Ok(at) = accounts.binary_search_by_key(&id, |account| account.id) {
                accounts[at].types += row.json::<PullCounts>("counts")?;
            }
        }
        Ok(accounts)
    }

    /// The accounts of the exports that have ended, by id, after `after`, at most
    /// `limit`. One statement: adopting a publication changes both sides.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn export_accounts(
        &self,
        after: Option<ExportId>,
        limit: u32,
    ) -> Result<Vec<ExportAccount>> {
        let rows = sqlx::query(
            "SELECT exports.id AS id, exports.state AS state, exports.counts AS counts, \
             exports.part_count AS part_count, exports.size_bytes AS size_bytes, \
             exports.publication_count AS publication_count, COUNT(publications.number) AS published_count, \
             CAST(COALESCE(SUM(publications.part_count), 0) AS BIGINT) AS published_parts, \
             CAST(COALESCE(SUM(publications.row_count), 0) AS BIGINT) AS published_rows, \
             CAST(COALESCE(SUM(publications.size_bytes), 0) AS BIGINT) AS published_bytes \
             FROM exports LEFT JOIN publications ON publications.destination_id = exports.destination_id \
             AND publications.export_id = exports.id \
             WHERE exports.id > $1 AND exports.state NOT IN ('queued', 'running') \
             GROUP BY exports.id, exports.state, exports.counts, exports.part_count, exports.size_bytes, \
             exports.publication_count ORDER BY exports.id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ExportAccount {
                    id: row.word("id")?,
                    state: row.word("state")?,
                    counts: row.json("counts")?,
                    stated: ExportTotals {
                        part_count: row.count("part_count")?,
                        size_bytes: row.count("size_bytes")?,
                        publication_count: row.count("publication_count")?,
                    },
                    published: ExportTotals {
                        part_count: row.count("published_parts")?,
                        size_bytes: row.count("published_bytes")?,
                        publication_count: row.count("published_count")?,
                    },
                    published_rows: row.count("published_rows")?,
                })
            })
            .collect()
    }
}

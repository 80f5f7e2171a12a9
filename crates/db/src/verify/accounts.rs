//! The accounts of runs that have ended, and what they should agree with.

use model::{ExportCounts, ExportId, PullCounts, PullId, RunState};

use crate::row::Columns;
use crate::{Db, Result};

/// The counts of a pull that has ended, and what they should agree with.
#[derive(Debug, Clone)]
pub struct PullAccount {
    /// The pull.
    pub id: PullId,
    /// How it ended.
    pub state: RunState,
    /// Its counts.
    pub counts: PullCounts,
    /// The sum of its types' counts; none where they are not kept any more.
    pub types: Option<PullCounts>,
    /// The batch it says it wrote.
    pub batch_seq: Option<u64>,
    /// The rows and tombstones of that batch, while it is not merged.
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
    /// The accounts of the pulls that have ended, by id, after `after`, at most
    /// `limit`. What a pull says of itself does not change any more.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn pull_accounts(
        &self,
        after: Option<PullId>,
        limit: u32,
    ) -> Result<Vec<PullAccount>> {
        let rows = sqlx::query(
            "SELECT pulls.id AS id, pulls.state AS state, pulls.counts AS counts, pulls.batch_seq AS batch_seq, \
             batches.row_count AS row_count, batches.deleted_count AS deleted_count FROM pulls \
             LEFT JOIN batches ON batches.pull_id = pulls.id AND batches.connection_id = pulls.connection_id \
             AND batches.seq = pulls.batch_seq AND batches.object_key NOT LIKE '%.merged.ndjson.zst' \
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
                    types: None,
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
                let types = accounts[at].types.get_or_insert_default();
                *types += row.json::<PullCounts>("counts")?;
            }
        }
        Ok(accounts)
    }

    /// The accounts of the exports that have ended, by id, after `after`, at most
    /// `limit`. One statement: adopting a publication changes both sides.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
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
             AND publications.export_id = exports.id AND publications.burnt = 0 \
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

//! The publications that the database has taken over.

use model::{DestinationId, ExportId};

use crate::row::{Columns, bigint};
use crate::{Db, Result};

/// A publication as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationRow {
    /// Its number.
    pub number: u64,
    /// The export that made it.
    pub export_id: ExportId,
    /// Its plan.
    pub plan_id: String,
    /// Whether the number was only used up.
    pub burnt: bool,
    /// Files in it.
    pub part_count: u64,
    /// Rows in them.
    pub row_count: u64,
    /// Their size.
    pub size_bytes: u64,
}

impl Db {
    /// The publications of a destination that the database has taken over, by
    /// number, after `after`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn publications(
        &self,
        destination: DestinationId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<PublicationRow>> {
        let rows = sqlx::query(
            "SELECT number, export_id, plan_id, burnt, part_count, row_count, size_bytes FROM publications \
             WHERE destination_id = $1 AND number > $2 ORDER BY number LIMIT $3",
        )
        .bind(destination.to_string())
        .bind(bigint(after))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(PublicationRow {
                    number: row.count("number")?,
                    export_id: row.word("export_id")?,
                    plan_id: row.text("plan_id")?,
                    burnt: row.flag("burnt")?,
                    part_count: row.count("part_count")?,
                    row_count: row.count("row_count")?,
                    size_bytes: row.count("size_bytes")?,
                })
            })
            .collect()
    }
}

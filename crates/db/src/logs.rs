//! A connection's log: where it stands, and the batches it is made of.

use model::{ConnectionId, Timestamp};

use crate::call::Tx;
use crate::row::{Columns, bigint};
use crate::{Db, Error, Result};

/// Where a connection's log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// What a commit compares and swaps.
    pub log_version: u64,
    /// The number of the last batch; 0 before the first.
    pub head_seq: u64,
    /// The index after that batch.
    pub index_key: Option<String>,
}

/// A batch of a connection's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its number.
    pub seq: u64,
    /// Its name in the record store.
    pub object_key: String,
    /// Its settle number.
    pub settle_seq: u64,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// Tombstones.
    pub deleted_count: u64,
    /// Size of the object.
    pub size_bytes: u64,
}

impl Db {
    /// Where a connection's log stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn log_head(&self, connection: ConnectionId) -> Result<LogHead> {
        let row =
            sqlx::query("SELECT log_version, head_seq, index_key FROM connections WHERE id = $1")
                .bind(connection.to_string())
                .fetch_optional(&self.writer)
                .await?
                .ok_or_else(|| Error::NotFound {
                    noun: "connection",
                    id: connection.to_string(),
                })?;
        Ok(LogHead {
            log_version: row.count("log_version")?,
            head_seq: row.count("head_seq")?,
            index_key: row.raw("index_key")?,
        })
    }

    /// The batches of a connection that hold the rows `(from, to]`, in order: those
    /// of these numbers and, where `to` was merged into a later one, that one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn batches(
        &self,
        connection: ConnectionId,
        from: u64,
        to: u64,
    ) -> Result<Vec<BatchRow>> {
        let rows = sqlx::query(
            "SELECT seq, object_key, settle_seq, row_count, deleted_count, size_bytes FROM batches \
             WHERE connection_id = $1 AND seq > $2 AND seq <= COALESCE((SELECT MIN(covering.seq) FROM batches AS covering \
             WHERE covering.connection_id = $1 AND covering.seq >= $3), $3) ORDER BY seq",
        )
        .bind(connection.to_string())
        .bind(bigint(from))
        .bind(bigint(to))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(BatchRow {
                    seq: row.count("seq")?,
                    object_key: row.text("object_key")?,
                    settle_seq: row.count("settle_seq")?,
                    row_count: row.count("row_count")?,
                    deleted_count: row.count("deleted_count")?,
                    size_bytes: row.count("size_bytes")?,
                })
            })
            .collect()
    }
}

/// Notes that a connection's index is about to be replaced: it stays a while for
/// the plans that have pinned it.
pub(crate) async fn supersede_index(
    tx: &mut Tx<'_>,
    connection: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO superseded_objects (object_key, connection_id, superseded_at) SELECT index_key, id, $1 \
         FROM connections WHERE id = $2 AND index_key IS NOT NULL ON CONFLICT (object_key) DO NOTHING",
    )
    .bind(now.0)
    .bind(connection)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

//! Watermarks: how far a destination has each connection's log, and the marks of what it
//! lacks, a cache of that.
//!
//! Invariant: a watermark moves only from where its span began, in its own epoch (I3).

use model::{DestinationId, Publication, Span};

use crate::row::{Columns, bigint};
use crate::{Db, Result};

impl Db {
    /// The watermarks of a destination in its epoch: connection and batch number.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn watermarks(
        &self,
        destination: DestinationId,
    ) -> Result<Vec<(model::ConnectionId, u64)>> {
        let rows = sqlx::query(
            "SELECT watermarks.connection_id AS connection_id, watermarks.seq AS seq FROM watermarks \
             JOIN destinations ON destinations.id = watermarks.destination_id AND destinations.epoch = watermarks.epoch \
             WHERE watermarks.destination_id = $1 ORDER BY watermarks.connection_id",
        )
        .bind(destination.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| Ok((row.word("connection_id")?, row.count("seq")?)))
            .collect()
    }
}

pub(crate) async fn raise_watermark(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    publication: &Publication,
    span: &Span,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO watermarks (destination_id, connection_id, epoch, seq, updated_at) \
         SELECT id, $1, $2, $3, $4 FROM destinations WHERE id = $5 AND epoch = $2 AND ($6 = 0 OR EXISTS (SELECT 1 \
         FROM watermarks AS known WHERE known.destination_id = $5 AND known.connection_id = $1)) \
         ON CONFLICT (destination_id, connection_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, \
         updated_at = excluded.updated_at WHERE (watermarks.epoch = excluded.epoch AND watermarks.seq = $6) \
         OR (watermarks.epoch < excluded.epoch AND $6 = 0)",
    )
    .bind(span.connection_id.to_string())
    .bind(bigint(publication.epoch))
    .bind(bigint(span.to))
    .bind(now)
    .bind(publication.destination_id.to_string())
    .bind(bigint(span.from))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Removes the marks of what the destination has now. A settle that commits
/// meanwhile has raised a head and holds the mark: so the marks are locked first,
/// and the heads read once more by the second statement.
pub(crate) async fn clear_marks(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    destination: &str,
) -> Result<()> {
    for change in ["UPDATE marks SET since = since", "DELETE FROM marks"] {
        let text = format!(
            "{change} WHERE destination_id = $1 AND EXISTS (SELECT 1 FROM watermarks JOIN connections \
             ON connections.id = watermarks.connection_id WHERE watermarks.destination_id = marks.destination_id \
             AND watermarks.connection_id = marks.connection_id AND watermarks.seq >= connections.head_seq \
             AND watermarks.epoch = (SELECT epoch FROM destinations WHERE destinations.id = $1))"
        );
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(destination)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

//! Locks: the rule by which transactions of several workers are as safe on
//! PostgreSQL as they are on SQLite, which has one writer.
//!
//! Whatever decides by more than one row locks first, before it reads: the
//! *subject* (the connection of a pull, the destination of an export), then the
//! *run*, then the *step*; and nobody takes an earlier one while holding a later
//! one. At READ COMMITTED each statement after the lock sees all that the holders
//! before have committed. A lock is an UPDATE that changes nothing: SQLite has no
//! other, and there it makes the transaction a writer before it reads.
//!
//! Who counts the pulls of a source, changes it or connects to it locks that before all
//! of these.
//!
//! Of two subjects, a settle (connection) and a publication (destination), both
//! write marks: `watermarks.rs` says how. Whoever makes a destination or sets all
//! logs anew locks every connection.

use model::{ConnectionId, DestinationId, ProbeId, SourceId};

use crate::{Result, RunKind};

type Transaction<'t> = sqlx::Transaction<'t, sqlx::Any>;

pub(crate) async fn connection(tx: &mut Transaction<'_>, id: ConnectionId) -> Result<()> {
    subject(tx, RunKind::Pull, &id.to_string()).await
}

pub(crate) async fn destination(tx: &mut Transaction<'_>, id: DestinationId) -> Result<()> {
    subject(tx, RunKind::Export, &id.to_string()).await
}

/// Locks a source.
pub(crate) async fn source(tx: &mut Transaction<'_>, id: SourceId) -> Result<()> {
    let text = "UPDATE sources SET enabled = enabled WHERE id = $1";
    execute(tx, text.to_owned(), &id.to_string()).await
}

/// Locks the source of a connection, where its pulls are counted.
pub(crate) async fn source_of(tx: &mut Transaction<'_>, connection: &str) -> Result<()> {
    let text = "UPDATE sources SET enabled = enabled WHERE concurrent_pulls IS NOT NULL \
         AND id = (SELECT source_id FROM connections WHERE id = $1)";
    execute(tx, text.to_owned(), connection).await
}

/// Locks the destination of a probe.
pub(crate) async fn destination_of(tx: &mut Transaction<'_>, probe: ProbeId) -> Result<()> {
    let text = "UPDATE destinations SET enabled = enabled \
         WHERE id = (SELECT destination_id FROM probes WHERE id = $1)";
    execute(tx, text.to_owned(), &probe.to_string()).await
}

/// Locks the connection or destination with this id.
pub(crate) async fn subject(tx: &mut Transaction<'_>, kind: RunKind, id: &str) -> Result<()> {
    let text = format!(
        "UPDATE {0} SET enabled = enabled WHERE id = $1",
        kind.subject_table()
    );
    execute(tx, text, id).await
}

/// Locks the connection or destination of a run.
pub(crate) async fn subject_of(tx: &mut Transaction<'_>, kind: RunKind, run: &str) -> Result<()> {
    let text = format!(
        "UPDATE {} SET enabled = enabled WHERE id = (SELECT {} FROM {} WHERE id = $1)",
        kind.subject_table(),
        kind.subject(),
        kind.table()
    );
    execute(tx, text, run).await
}

/// Locks a run.
pub(crate) async fn run(tx: &mut Transaction<'_>, kind: RunKind, id: &str) -> Result<()> {
    let text = format!(
        "UPDATE {0} SET updated_at = updated_at WHERE id = $1",
        kind.table()
    );
    execute(tx, text, id).await
}

/// Locks every connection: no settle is under way, and none begins.
pub(crate) async fn all_connections(tx: &mut Transaction<'_>) -> Result<()> {
    let text = "UPDATE connections SET enabled = enabled WHERE $1 = ''";
    execute(tx, text.to_owned(), "").await
}

/// Locks every destination: no publication is being taken over, and none begins.
pub(crate) async fn all_destinations(tx: &mut Transaction<'_>) -> Result<()> {
    let text = "UPDATE destinations SET enabled = enabled WHERE $1 = ''";
    execute(tx, text.to_owned(), "").await
}

async fn execute(tx: &mut Transaction<'_>, text: String, id: &str) -> Result<()> {
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

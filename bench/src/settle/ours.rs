//! Our side of `settle`: load the index, settle, commit.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use model::ConnectionId;
use records::{Index, Settled, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::record::settle_as;

/// The tables that a settle's transaction touches: the log's pointer, the
/// catalogue of batches, the coverage by type and the event.
const SCHEMA: [&str; 5] = [
    "CREATE TABLE connections (id TEXT PRIMARY KEY, log_version INTEGER, head_seq INTEGER, index_key TEXT)",
    "CREATE TABLE batches (connection_id TEXT, seq INTEGER, object_key TEXT, row_count INTEGER, size_bytes INTEGER)",
    "CREATE TABLE pull_types (connection_id TEXT, resource_type TEXT, fetched INTEGER, new INTEGER, changed INTEGER)",
    "CREATE TABLE events (id INTEGER PRIMARY KEY, connection_id TEXT, noun TEXT)",
    "CREATE INDEX batches_by_log ON batches (connection_id, seq)",
];

/// A settle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) store: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) connection: ConnectionId,
    pub(crate) staging: Vec<String>,
    /// The index after batch 1.
    pub(crate) index_key: String,
}

impl Work {
    /// Makes the database.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let mut database = open(&self.database).await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut database).await?;
        }
        sqlx::query("INSERT INTO connections VALUES (?, 1, 1, ?)")
            .bind(self.connection.to_string())
            .bind(&self.index_key)
            .execute(&mut database)
            .await?;
        Ok(database.close().await?)
    }

    /// Settles the staging as batch 2. A repeat does the same again: nothing that
    /// it reads has changed.
    pub(crate) async fn run(self) -> Result<Value> {
        let store = Store::open_local(&self.store)?;
        let index = Index::load(&store, &self.index_key).await?;
        let settled = settle_as(&store, self.connection, &self.staging, Some(index), 2).await?;
        self.commit(&settled).await?;
        let changed: u64 = settled
            .counts_by_type
            .values()
            .map(|counts| counts.changed)
            .sum();
        let batch = settled.batch.as_ref();
        Ok(json!({
            "changed": changed,
            "batch_key": batch.map(|batch| &batch.key),
            "index_key": batch.map(|batch| &batch.index_key),
        }))
    }

    /// One durable transaction, of the size of the real one.
    async fn commit(&self, settled: &Settled) -> Result<()> {
        let mut database = open(&self.database).await?;
        let connection = self.connection.to_string();
        let mut transaction = database.begin().await?;
        if let Some(batch) = &settled.batch {
            sqlx::query("UPDATE connections SET log_version = log_version + 1, head_seq = 2, index_key = ? WHERE id = ?")
                .bind(&batch.index_key)
                .bind(&connection)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT INTO batches VALUES (?, 2, ?, ?, ?)")
                .bind(&connection)
                .bind(&batch.key)
                .bind(i64::try_from(batch.row_count)?)
                .bind(i64::try_from(batch.size_bytes)?)
                .execute(&mut *transaction)
                .await?;
        }
        for (name, counts) in &settled.counts_by_type {
            sqlx::query("INSERT INTO pull_types VALUES (?, ?, ?, ?, ?)")
                .bind(&connection)
                .bind(name)
                .bind(i64::try_from(counts.fetched)?)
                .bind(i64::try_from(counts.new)?)
                .bind(i64::try_from(counts.changed)?)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("INSERT INTO events (connection_id, noun) VALUES (?, 'pull_settled')")
            .bind(&connection)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(database.close().await?)
    }
}

/// Opens a database as Chartlift does: WAL, and commits that survive a power cut.
pub(super) async fn open(file: &Path) -> Result<SqliteConnection> {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .with_context(|| format!("open {}", file.display()))
}

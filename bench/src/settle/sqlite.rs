//! The rival of `settle`: the resources themselves in one table, by key. It reads
//! the same staging, and is given what helps it: many rows a statement, an
//! integer for the connection, memory for its cache and maps for its reads.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use futures::TryStreamExt;
use model::ContentHash;
use records::{SegmentReader, Store, frame_texts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, SqliteConnection};

use super::ours::open;
use crate::corpus::digest;

/// Rows a statement: sqlx hands each statement to a thread, which costs.
const ROWS_PER_STATEMENT: usize = 128;

const SCHEMA: &str = "CREATE TABLE resources (connection INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, \
     hash BLOB NOT NULL, fetched_at INTEGER NOT NULL, text BLOB NOT NULL, PRIMARY KEY (connection, type, id))";

/// An upsert of staging.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) store: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) staging: Vec<String>,
    /// Smart: reads the hashes first and writes what differs.
    pub(crate) reads_hashes: bool,
}

impl Work {
    /// Makes the table.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let mut database = open(&self.database).await?;
        sqlx::query(SCHEMA).execute(&mut database).await?;
        Ok(database.close().await?)
    }

    /// Upserts in one durable transaction.
    pub(crate) async fn run(self) -> Result<Value> {
        let store = Store::open_local(&self.store)?;
        let mut database = open(&self.database).await?;
        for pragma in [
            "PRAGMA cache_size = -262144",
            "PRAGMA mmap_size = 4294967296",
        ] {
            sqlx::query(pragma).execute(&mut database).await?;
        }
        let mut readers = Vec::with_capacity(self.staging.len());
        for object in &self.staging {
            readers.push(SegmentReader::open(&store, object).await?);
        }
        let mut wanted = newest(&readers);
        if self.reads_hashes {
            let known = hashes(&mut database).await?;
            for (reader, wanted) in readers.iter().zip(&mut wanted) {
                for (number, wanted) in (0..).zip(wanted) {
                    let row = reader.footer().row(number);
                    let known = known.get(row.resource_type).and_then(|ids| ids.get(row.id));
                    *wanted &= known != Some(&row.content_hash);
                }
            }
        }
        let changed: usize = wanted.iter().flatten().filter(|wanted| **wanted).count();
        let statement = statement(ROWS_PER_STATEMENT);
        let mut transaction = database.begin().await?;
        let mut rows = Vec::with_capacity(ROWS_PER_STATEMENT);
        for (reader, wanted) in readers.iter().zip(&wanted) {
            for (number, frame) in reader.footer().frames().iter().enumerate() {
                let here = frame.first_row..frame.first_row + frame.row_count;
                if !wanted[here.start as usize..here.end as usize].contains(&true) {
                    continue;
                }
                let text = reader.read_frame(number).await?;
                for (row, text) in frame_texts(reader.footer(), number, &text) {
                    if !wanted[row as usize] {
                        continue;
                    }
                    rows.push((reader.footer().row(row), text));
                    if rows.len() == ROWS_PER_STATEMENT {
                        upsert(&statement, &mut rows)
                            .execute(&mut *transaction)
                            .await?;
                    }
                }
            }
        }
        if !rows.is_empty() {
            let statement = self::statement(rows.len());
            upsert(&statement, &mut rows)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        database.close().await?;
        Ok(json!({ "changed": changed }))
    }

    /// What the table holds: how many rows, and their digests' sum.
    pub(crate) async fn digest(&self) -> Result<(u64, u128)> {
        let mut database = open(&self.database).await?;
        let (mut count, mut sum, mut buffer) = (0, 0_u128, Vec::new());
        let mut rows = sqlx::query("SELECT type, id, text FROM resources").fetch(&mut database);
        while let Some(row) = rows.try_next().await? {
            count += 1;
            sum = sum.wrapping_add(digest(
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                &mut buffer,
            ));
        }
        Ok((count, sum))
    }
}

/// Which rows of each reader are the last of their key.
fn newest(readers: &[SegmentReader]) -> Vec<Vec<bool>> {
    let mut wanted: Vec<Vec<bool>> = readers
        .iter()
        .map(|reader| vec![true; reader.footer().row_count() as usize])
        .collect();
    let mut last = HashMap::new();
    for (at, reader) in readers.iter().enumerate() {
        for (number, row) in reader.footer().rows().enumerate() {
            if let Some((at, number)) = last.insert((row.resource_type, row.id), (at, number)) {
                wanted[at][number] = false;
            }
        }
    }
    wanted
}

type Hashes = HashMap<String, HashMap<String, ContentHash>>;

/// All hashes, by type and id.
async fn hashes(database: &mut SqliteConnection) -> Result<Hashes> {
    let mut known = Hashes::new();
    let mut rows =
        sqlx::query("SELECT type, id, hash FROM resources WHERE +connection = 1").fetch(database);
    while let Some(row) = rows.try_next().await? {
        let (resource_type, hash): (&str, &[u8]) = (row.try_get(0)?, row.try_get(2)?);
        let hash = ContentHash(hash.try_into()?);
        match known.get_mut(resource_type) {
            Some(ids) => drop(ids.insert(row.try_get(1)?, hash)),
            None => drop(known.insert(
                resource_type.to_owned(),
                HashMap::from([(row.try_get(1)?, hash)]),
            )),
        }
    }
    Ok(known)
}

/// An upsert of `count` rows.
fn statement(count: usize) -> String {
    let rows = vec!["(1, ?, ?, ?, ?, ?)"; count].join(", ");
    format!(
        "INSERT INTO resources (connection, type, id, hash, fetched_at, text) VALUES {rows} \
         ON CONFLICT (connection, type, id) DO UPDATE \
         SET hash = excluded.hash, fetched_at = excluded.fetched_at, text = excluded.text"
    )
}

/// The statement with `rows`, which it empties.
fn upsert<'q>(
    statement: &str,
    rows: &mut Vec<(records::RowRef<'q>, bytes::Bytes)>,
) -> Query<'q, Sqlite, SqliteArguments> {
    rows.drain(..).fold(
        sqlx::query(AssertSqlSafe(statement.to_owned())),
        |query, (row, text)| {
            let hash = row.content_hash.0.to_vec();
            query
                .bind(row.resource_type)
                .bind(row.id)
                .bind(hash)
                .bind(row.fetched_at.0)
                .bind(Vec::from(text))
        },
    )
}

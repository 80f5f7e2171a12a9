//! The rival of `api`: a program that reads the rows by the query one would write
//! for it, with the driver of the database itself, and prints them as JSON.

use std::time::Instant;

use anyhow::Result;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use super::{LISTS, List, Work};

/// Rows a page.
const LIMIT: i64 = 50;

/// A hash over the ids that were read, in their order.
#[derive(Default)]
pub(crate) struct Ids(Sha256);

impl Ids {
    pub(crate) fn add(&mut self, id: &str) {
        self.0.update(id);
        self.0.update([0]);
    }

    pub(crate) fn digest(self) -> String {
        HEXLOWER.encode(&self.0.finalize())
    }
}

/// The columns of a list that are text, and those that are numbers.
fn columns(list: List) -> (&'static [&'static str], &'static [&'static str]) {
    match list {
        List::Pulls => (
            &[
                "id",
                "connection_id",
                "kind",
                "state",
                "phase",
                "retry_of",
                "counts",
                "error_code",
            ],
            &[
                "batch_seq",
                "pages",
                "created_at",
                "started_at",
                "finished_at",
            ],
        ),
        List::Exports => (
            &[
                "id",
                "destination_id",
                "state",
                "phase",
                "retry_of",
                "counts",
                "error_code",
            ],
            &[
                "full_resend",
                "patients",
                "part_count",
                "size_bytes",
                "publication_count",
                "created_at",
                "started_at",
                "finished_at",
            ],
        ),
        List::Patients => (&["id", "external_id"], &["created_at"]),
    }
}

pub(crate) async fn run(work: &Work) -> Result<Value> {
    if work.database.starts_with("sqlite:") {
        sqlite(work).await
    } else {
        postgres(work).await
    }
}

/// The same with each database's own driver.
macro_rules! reader {
    ($name:ident, $connection:ty, $before:literal, $limit:literal) => {
        async fn $name(work: &Work) -> Result<Value> {
            let mut connection = <$connection>::connect(&work.database).await?;
            let (mut ids, mut page_us) = (Ids::default(), Map::new());
            for list in LISTS {
                let (texts, numbers) = columns(list);
                let query = format!(
                    concat!("SELECT {} FROM {} WHERE id < ", $before, " ORDER BY id DESC LIMIT ", $limit),
                    [texts, numbers].concat().join(", "),
                    list.name()
                );
                let started = Instant::now();
                // Behind every id.
                let mut last = "~".to_owned();
                for _ in 0..work.pages {
                    let rows = sqlx::query(AssertSqlSafe(query.clone()))
                        .bind(last.clone())
                        .bind(LIMIT)
                        .fetch_all(&mut connection)
                        .await?;
                    let mut page = Vec::with_capacity(rows.len());
                    for row in &rows {
                        let mut object = Map::new();
                        for name in texts {
                            let text: Option<&str> = row.try_get(name)?;
                            object.insert((*name).to_owned(), json!(text));
                        }
                        for name in numbers {
                            let number: Option<i64> = row.try_get(name)?;
                            object.insert((*name).to_owned(), json!(number));
                        }
                        last = row.try_get("id")?;
                        ids.add(&last);
                        page.push(Value::Object(object));
                    }
                    std::hint::black_box(serde_json::to_vec(&page)?);
                }
                let page = started.elapsed() / u32::try_from(work.pages)?;
                page_us.insert(list.name().to_owned(), json!(page.as_secs_f64() * 1e6));
            }
            connection.close().await?;
            Ok(json!({ "ids": ids.digest(), "page_us": page_us }))
        }
    };
}

reader!(sqlite, SqliteConnection, "?", "?");
reader!(postgres, PgConnection, "$1", "$2");

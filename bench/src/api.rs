//! `api`: pages of long lists over the REST API, beside a plain sqlx program that
//! reads the same rows by the query one would write for it and prints them as JSON.

pub(crate) mod fill;
pub(crate) mod plain;
pub(crate) mod served;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::compare::{Ratio, Spread};
use crate::process::{Runs, Spent};
use crate::side::Side;

/// Names a PostgreSQL server, as for the tests.
const SERVER: &str = "CHARTLIFT_TEST_POSTGRES";
/// How many pages of a list are read one after another: 10,000 rows.
const PAGES: usize = 200;
/// The lists, in the order in which both sides read them.
pub(crate) const LISTS: [List; 3] = [List::Pulls, List::Exports, List::Patients];

/// A list that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum List {
    Pulls,
    Exports,
    Patients,
}

impl List {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pulls => "pulls",
            Self::Exports => "exports",
            Self::Patients => "patients",
        }
    }
}

/// What a side does: reads the pages of each list, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) database: String,
    pub(crate) encryption_key: String,
    pub(crate) api_key: String,
    /// Pages of a list.
    pub(crate) pages: usize,
}

/// Compares, in each database there is.
pub(crate) async fn run(folder: &Path, repeats: u32) -> Result<Value> {
    let mut figures = Map::new();
    std::fs::create_dir_all(folder).context("make a folder")?;
    let file = format!("sqlite://{}", folder.join("lists.db").display());
    figures.insert("sqlite".to_owned(), compare("sqlite", file, repeats).await?);
    let server = std::env::var(SERVER).ok().filter(|url| !url.is_empty());
    let postgres = match server {
        Some(server) => {
            let url = fill::new_database(&server).await?;
            let found = compare("postgres", url.clone(), repeats).await;
            fill::remove_database(&server, &url).await?;
            found?
        }
        None => json!({ "skipped": format!("{SERVER} names no PostgreSQL server") }),
    };
    figures.insert("postgres".to_owned(), postgres);
    Ok(Value::Object(figures))
}

async fn compare(name: &str, database: String, repeats: u32) -> Result<Value> {
    eprintln!("api: filling {name}");
    let work = fill::fill(database, PAGES).await?;
    let (served, plain) = (Side::Served(work.clone()), Side::Plain(work));
    // Once each, so that both find the database in memory.
    let (first, second) = (served.run()?, plain.run()?);
    ensure!(
        first.said["ids"] == second.said["ids"],
        "the sides read other rows: {} and {}",
        first.said,
        second.said
    );
    let (mut of_served, mut of_plain) = (Runs::default(), Runs::default());
    for _ in 0..repeats {
        of_served.0.push(served.run()?);
        of_plain.0.push(plain.run()?);
    }
    let mut figures = Map::new();
    for list in LISTS {
        let page_us = |runs: &Runs| Spread::of(runs.0.iter().map(|spent| page_us(spent, list)));
        let (ours, rival) = (page_us(&of_served), page_us(&of_plain));
        let ratio = Ratio::of(ours, rival);
        eprintln!(
            "api: {name}: a page of {}: {ours} us over HTTP, {rival} us by sqlx: {ratio}",
            list.name()
        );
        figures.insert(
            list.name().to_owned(),
            json!({
                "page_us": ours.to_json(),
                "page_us_by_sqlx": rival.to_json(),
                "times_sqlx": ratio.to_json(),
            }),
        );
    }
    let cpu = Ratio::of(of_served.cpu_s(), of_plain.cpu_s());
    eprintln!("api: {name}: CPU of all pages, client included: {cpu}");
    figures.insert("cpu_times_sqlx".to_owned(), cpu.to_json());
    figures.insert("served".to_owned(), of_served.to_json());
    figures.insert("by_sqlx".to_owned(), of_plain.to_json());
    Ok(Value::Object(figures))
}

/// Microseconds a page of a list took.
fn page_us(spent: &Spent, list: List) -> f64 {
    spent.said["page_us"][list.name()].as_f64().unwrap_or(0.0)
}

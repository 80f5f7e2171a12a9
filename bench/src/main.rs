//! `bench`: Chartlift's hot paths beside peers that do the same work.
//!
//! Each side of a comparison is a process of its own (`bench side JSON`, or
//! Python for DuckDB), so that its CPU seconds and peak memory are its alone.
//! Sides take turns, and what they made is compared before a figure counts.
//!
//! Invariant: no figure without its spread, and no ratio where spreads overlap.
//! Everything is written below one temporary folder, removed at the end.

mod api;
mod compare;
mod corpus;
mod parquet;
mod process;
mod pull;
mod record;
mod settle;
mod side;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum, value_parser};
use serde_json::{Map, Value, json};

use crate::corpus::Corpus;

/// Compares Chartlift's hot paths with peers that do the same work.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// Which comparison.
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// How often each side runs; they take turns.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// How many resources: the sample's, again and again under other ids.
    #[arg(long, default_value_t = 125_000, value_parser = value_parser!(u32).range(1_000..=2_000_000))]
    resources: u32,
    /// Where ids and the choice of changed resources come from.
    #[arg(long, env = "CHARTLIFT_SEED", default_value_t = 1)]
    seed: u64,
    /// Print the figures as one JSON object, the last line of stdout; write them
    /// to FILE as well.
    #[arg(long, num_args = 0..=1, value_name = "FILE")]
    json: Option<Option<PathBuf>>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    All,
    Settle,
    Pull,
    Parquet,
    Api,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("side") {
        return side::main(&arguments.next().context("a side needs its work as JSON")?);
    }
    let options = Options::parse();
    let figures = process::block_on(run(&options))?;
    if let Some(file) = &options.json {
        let line = Value::Object(figures).to_string();
        if let Some(file) = file {
            std::fs::write(file, &line).with_context(|| format!("write {}", file.display()))?;
        }
        println!("{line}");
    }
    Ok(())
}

async fn run(options: &Options) -> Result<Map<String, Value>> {
    let corpus = Corpus::open(options.seed, options.resources as usize).await?;
    let folder = tempfile::Builder::new()
        .prefix("chartlift-bench-")
        .tempdir()
        .context("make a folder")?;
    let wanted = |what| options.what == What::All || options.what == what;
    let mut figures = Map::new();
    figures.insert("repeats".to_owned(), json!(options.repeats));
    figures.insert("resources".to_owned(), json!(options.resources));
    figures.insert("seed".to_owned(), json!(options.seed));
    if wanted(What::Settle) {
        let found = settle::run(&corpus, &folder.path().join("settle"), options.repeats).await?;
        figures.insert("settle".to_owned(), found);
    }
    if wanted(What::Pull) {
        let found = pull::run(&corpus, &folder.path().join("pull"), options.repeats).await?;
        figures.insert("pull".to_owned(), found);
    }
    if wanted(What::Parquet) {
        let found = match parquet::python() {
            Some(python) => {
                parquet::run(
                    &corpus,
                    &folder.path().join("parquet"),
                    options.repeats,
                    &python,
                )
                .await?
            }
            // The others' figures should not be lost for want of a peer.
            None if options.what == What::All => json!({ "skipped": parquet::NO_PYTHON }),
            None => anyhow::bail!(parquet::NO_PYTHON),
        };
        figures.insert("parquet".to_owned(), found);
    }
    if wanted(What::Api) {
        let found = api::run(&folder.path().join("api"), options.repeats).await?;
        figures.insert("api".to_owned(), found);
    }
    folder.close().context("remove the folder")?;
    Ok(figures)
}

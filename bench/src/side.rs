//! The door of the processes that are measured: `bench side JSON`.

use std::ffi::OsString;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process::{self, Spent};
use crate::{api, parquet, pull, settle};

/// What a side does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Side {
    /// Settles into the record store.
    Settle(settle::ours::Work),
    /// Settles into a table of SQLite.
    Upsert(settle::sqlite::Work),
    /// Pulls a portal's pages into staging.
    Pull(pull::Work),
    /// Serves the sandbox until stdin ends. Not measured.
    Portal,
    /// Writes a connection's log as Parquet.
    Parquet(parquet::Work),
    /// Reads lists over the REST API.
    Served(api::Work),
    /// Reads the same lists by sqlx.
    Plain(api::Work),
}

impl Side {
    /// The arguments of a process that does this.
    pub(crate) fn arguments(&self) -> Result<[OsString; 2]> {
        Ok([
            "side".into(),
            serde_json::to_string(self)
                .context("write a side's work")?
                .into(),
        ])
    }

    /// Does this in a process of its own.
    pub(crate) fn run(&self) -> Result<Spent> {
        process::measure(process::this_program(), &self.arguments()?)
    }
}

/// Does what `work` says and prints what came of it.
pub(crate) fn main(work: &str) -> Result<()> {
    let side = serde_json::from_str(work).context("read a side's work")?;
    let mut said: Value = process::block_on(async {
        match side {
            Side::Settle(work) => work.run().await,
            Side::Upsert(work) => work.run().await,
            Side::Pull(work) => work.run().await,
            Side::Portal => pull::portal::serve().await,
            Side::Parquet(work) => work.run().await,
            Side::Served(work) => api::served::run(&work).await,
            Side::Plain(work) => api::plain::run(&work).await,
        }
    })?;
    said["rss_kb"] = process::peak_rss_kb()?.into();
    println!("{said}");
    Ok(())
}

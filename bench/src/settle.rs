//! `settle`: a pull's staged resources against what is known, beside SQLite with
//! the resources in a table.

pub(crate) mod ours;
pub(crate) mod sqlite;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use records::BatchRef;
use serde_json::{Map, Value, json};

use crate::compare::Ratio;
use crate::corpus::Corpus;
use crate::process::{Runs, Spent};
use crate::record::{Record, stage};
use crate::side::Side;

/// How many of the staged resources differ from what is known, in percent.
const CHANGED_PERCENTS: [u64; 4] = [0, 1, 10, 100];

/// Everything that both sides start from.
struct Bench<'a> {
    corpus: &'a Corpus,
    record: Record,
    ours: ours::Work,
    sqlite: sqlite::Work,
}

/// Compares, for each share of changed resources.
pub(crate) async fn run(corpus: &Corpus, folder: &Path, repeats: u32) -> Result<Value> {
    eprintln!(
        "settle: preparing {} resources, {} MB",
        corpus.resources,
        corpus.raw_bytes() / 1_000_000
    );
    let store_folder = folder.join("store");
    let record = Record::create(&store_folder, corpus).await?;
    let ours = ours::Work {
        store: store_folder.clone(),
        database: folder.join("catalogue.db"),
        connection: record.connection,
        staging: Vec::new(),
        index_key: record.index_key.clone(),
    };
    ours.prepare().await?;
    let sqlite = sqlite::Work {
        store: store_folder,
        database: folder.join("resources.db"),
        staging: record.staging.clone(),
        reads_hashes: false,
    };
    sqlite.prepare().await?;
    Side::Upsert(sqlite.clone()).run().context("fill SQLite")?;
    let bench = Bench {
        corpus,
        record,
        ours,
        sqlite,
    };
    let mut figures = Map::new();
    figures.insert("raw_bytes".to_owned(), corpus.raw_bytes().into());
    for percent in CHANGED_PERCENTS {
        figures.insert(
            format!("changed_{percent}_percent"),
            bench.compare(percent, repeats).await?,
        );
    }
    Ok(figures.into())
}

impl Bench<'_> {
    async fn compare(&self, percent: u64, repeats: u32) -> Result<Value> {
        let connection = self.record.connection;
        let staging = stage(&self.record.store, connection, self.corpus.iter(percent)).await?;
        let (mut ours, mut smart, mut plain) = (Runs::default(), Runs::default(), Runs::default());
        let mut is_changed = false;
        for repeat in 0..repeats {
            let settled = Side::Settle(ours::Work {
                staging: staging.clone(),
                ..self.ours.clone()
            })
            .run()?;
            // SQLite holds one state, so it goes there and back: either way the
            // same resources differ.
            let upsert = |is_changed: bool, reads_hashes| {
                let staging = if is_changed {
                    &self.record.staging
                } else {
                    &staging
                };
                Side::Upsert(sqlite::Work {
                    staging: staging.clone(),
                    reads_hashes,
                    ..self.sqlite.clone()
                })
            };
            smart.0.push(upsert(is_changed, true).run()?);
            is_changed = !is_changed;
            if repeat == 0 {
                self.check(percent, &settled, &smart.0[0]).await?;
            }
            // It writes everything, whatever differs: measured once.
            if percent == 100 {
                plain.0.push(upsert(is_changed, false).run()?);
                is_changed = !is_changed;
            }
            for key in ["batch_key", "index_key"] {
                if let Some(key) = settled.said[key].as_str() {
                    self.record.store.delete(key).await?;
                }
            }
            ours.0.push(settled);
        }
        if is_changed {
            Side::Upsert(self.sqlite.clone())
                .run()
                .context("reset SQLite")?;
        }
        for key in &staging {
            self.record.store.delete(key).await?;
        }
        Ok(self.figures(percent, &ours, &smart, &plain))
    }

    /// Whether both sides now hold the same, and changed as much as was meant.
    async fn check(&self, percent: u64, ours: &Spent, sqlite: &Spent) -> Result<()> {
        let numbers = 0..self.corpus.resources;
        let meant = numbers
            .filter(|number| self.corpus.is_changed(*number, percent))
            .count();
        for spent in [ours, sqlite] {
            ensure!(
                spent.said["changed"] == meant,
                "{percent} %: {meant} should have changed: {}",
                spent.said
            );
        }
        let batch = ours.said["batch_key"].as_str().map(|key| BatchRef {
            seq: 2,
            key: key.to_owned(),
        });
        let index_key = ours.said["index_key"]
            .as_str()
            .unwrap_or(&self.record.index_key);
        let held = self.record.digest(batch, index_key).await?;
        let rival = self.sqlite.digest().await?;
        ensure!(
            held == rival,
            "{percent} %: the sides differ: {held:?} and {rival:?}"
        );
        ensure!(
            held.0 == self.corpus.resources as u64,
            "{percent} %: resources are missing"
        );
        Ok(())
    }

    fn figures(&self, percent: u64, ours: &Runs, smart: &Runs, plain: &Runs) -> Value {
        let speed = ours.cpu_s().per(self.corpus.resources as f64);
        let ratio = Ratio::of(smart.cpu_s(), ours.cpu_s());
        eprintln!(
            "settle {percent:>3} % changed   chartlift       {} cpu s   {:.0} resources per cpu s",
            ours.cpu_s(),
            speed.med
        );
        eprintln!(
            "                       SQLite, smart   {} cpu s   {ratio}",
            smart.cpu_s()
        );
        let mut figures = json!({
            "chartlift": ours.to_json(),
            "resources_per_cpu_s": speed.to_json(),
            "sqlite_smart": smart.to_json(),
            "ratio_to_sqlite_smart": ratio.to_json(),
        });
        if !plain.0.is_empty() {
            let ratio = Ratio::of(plain.cpu_s(), ours.cpu_s());
            eprintln!(
                "                       SQLite, plain   {} cpu s   {ratio}",
                plain.cpu_s()
            );
            figures["sqlite_plain"] = plain.to_json();
            figures["ratio_to_sqlite_plain"] = ratio.to_json();
        }
        figures
    }
}

//! `pull`: a portal's pages into durable staging, without latency. The portal is
//! a process of its own, so that the client's CPU is the client's alone.

pub(crate) mod portal;
mod split;
mod value;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use guard::{Allow, Guard};
use model::{ConnectionId, Timestamp};
use records::{SegmentReader, Store, frame_texts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use source::{Auth, FirstPage, Limits, SourceClient, Wanted};
use url::Url;

use crate::compare::Ratio;
use crate::corpus::{Corpus, digest};
use crate::process::Runs;
use crate::pull::portal::{PAGE_SIZE, Portal};
use crate::record::Stager;
use crate::side::Side;

/// A pull of all patients, several times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) store: PathBuf,
    pub(crate) base_url: Url,
    pub(crate) patients: Vec<String>,
    pub(crate) rounds: usize,
    /// The rival: parses every page into a `serde_json::Value` and writes it again.
    pub(crate) through_value: bool,
    /// Splits each page so often and stages nothing; 0: a pull.
    pub(crate) only_splits: usize,
}

/// What a side did.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pulled {
    resources: u64,
    page_bytes: u64,
    staging: Vec<String>,
}

impl Work {
    pub(crate) async fn run(self) -> Result<Value> {
        let limits = Limits {
            page_size: PAGE_SIZE,
            ..Limits::default()
        };
        // The portal of a comparison is a process beside this one.
        let guard = Guard::new(Allow::parse(&["127.0.0.1/32"])?);
        let client = SourceClient::new(self.base_url.clone(), Auth::None, limits, &guard)?;
        let plan = client.plan(&client.capabilities().await?, Wanted::default());
        if self.only_splits > 0 {
            return split::work(&self, &client, &plan).await;
        }
        let mut stager = Stager::new(Store::open_local(&self.store)?, ConnectionId::new())?;
        let mut pulled = Pulled::default();
        let value_client = value::Client::new()?;
        for _ in 0..self.rounds {
            for patient in &self.patients {
                for stream in &plan {
                    let at = FirstPage::default();
                    let first = client.first_page_url(stream, patient, at);
                    let mut cursor = Some(first.clone());
                    while let Some(url) = cursor {
                        let now = Timestamp::now();
                        let (resources, next, bytes) = if self.through_value {
                            value_client.page(&url).await?
                        } else {
                            let page = if url == first {
                                client.first_page(stream, patient, at).await?
                            } else {
                                client.page(&url).await?
                            };
                            (page.resources, page.next, page.bytes)
                        };
                        pulled.page_bytes += bytes;
                        pulled.resources += resources.len() as u64;
                        for resource in &resources {
                            stager.push(resource, now).await?;
                        }
                        cursor = next;
                    }
                }
            }
        }
        pulled.staging = stager.finish().await?;
        Ok(serde_json::to_value(pulled)?)
    }
}

/// Compares both clients.
pub(crate) async fn run(corpus: &Corpus, folder: &Path, repeats: u32) -> Result<Value> {
    let rounds = corpus.resources.div_ceil(corpus.sample_count());
    let (mut ours, mut rival) = (Runs::default(), Runs::default());
    let (mut last, mut exact, mut lost) = (Pulled::default(), true, 0);
    let mut splits = split::Splits::default();
    for repeat in 0..repeats {
        let mut staged = Vec::new();
        for through_value in [false, true] {
            // Its log grows with every page, so each run has its own.
            let portal = Portal::start()?;
            let store = folder.join(format!("{repeat}-{through_value}"));
            let (base_url, patients) = (portal.base_url.clone(), portal.patients.clone());
            let spent = Side::Pull(Work {
                store: store.clone(),
                base_url,
                patients,
                rounds,
                through_value,
                only_splits: 0,
            })
            .run()?;
            let pulled: Pulled =
                serde_json::from_value(spent.said.clone()).context("read what was pulled")?;
            if repeat == 0 {
                staged.push(Staged::read(&store, &pulled.staging).await?);
            }
            std::fs::remove_dir_all(&store).context("remove the staging")?;
            if through_value { &mut rival } else { &mut ours }
                .0
                .push(spent);
            last = pulled;
            splits.repeat(&portal, through_value)?;
        }
        if let [ours, rival] = staged.as_slice() {
            ensure!(
                ours.canonical == rival.canonical,
                "the clients staged different resources: {ours:?} and {rival:?}"
            );
            (exact, lost) = (
                ours.exact == rival.exact,
                ours.raw_bytes as i64 - rival.raw_bytes as i64,
            );
        }
    }
    let speed = ours.cpu_s().per(last.resources as f64);
    let megabytes = ours.cpu_s().per(last.page_bytes as f64 / 1e6);
    let ratio = Ratio::of(rival.cpu_s(), ours.cpu_s());
    eprintln!(
        "pull {} resources   chartlift     {} cpu s   {:.0} resources, {:.0} MB per cpu s",
        last.resources,
        ours.cpu_s(),
        speed.med,
        megabytes.med
    );
    eprintln!(
        "                        through Value {} cpu s   {ratio}; byte for byte: {exact}",
        rival.cpu_s()
    );
    let split = splits.to_json(
        ours.cpu_s().med / last.resources as f64,
        rival.cpu_s().med / last.resources as f64,
    );
    Ok(json!({
        "resources": last.resources,
        "page_bytes": last.page_bytes,
        "page_size": PAGE_SIZE,
        "chartlift": ours.to_json(),
        "resources_per_cpu_s": speed.to_json(),
        "megabytes_per_cpu_s": megabytes.to_json(),
        "through_value": rival.to_json(),
        "ratio_to_value": ratio.to_json(),
        "through_value_is_exact": exact,
        "through_value_lost_bytes": lost,
        "split": split,
    }))
}

/// What a client staged, in sums that do not depend on the order.
#[derive(Debug)]
struct Staged {
    /// Over the texts as parsed and written again.
    canonical: (u64, u128),
    /// Over the texts as they are.
    exact: u128,
    raw_bytes: u64,
}

impl Staged {
    async fn read(folder: &Path, objects: &[String]) -> Result<Self> {
        let store = Store::open_local(folder)?;
        let mut staged = Self {
            canonical: (0, 0),
            exact: 0,
            raw_bytes: 0,
        };
        let mut buffer = Vec::new();
        for object in objects {
            let reader = SegmentReader::open(&store, object).await?;
            for frame in 0..reader.footer().frames().len() {
                let text = reader.read_frame(frame).await?;
                for (row, text) in frame_texts(reader.footer(), frame, &text) {
                    let row = reader.footer().row(row);
                    let canonical = serde_json::from_slice::<Value>(&text)?.to_string();
                    let canonical =
                        digest(row.resource_type, row.id, canonical.as_bytes(), &mut buffer);
                    staged.canonical = (
                        staged.canonical.0 + 1,
                        staged.canonical.1.wrapping_add(canonical),
                    );
                    let exact = digest(row.resource_type, row.id, &text, &mut buffer);
                    staged.exact = staged.exact.wrapping_add(exact);
                    staged.raw_bytes += text.len() as u64;
                }
            }
        }
        Ok(staged)
    }
}

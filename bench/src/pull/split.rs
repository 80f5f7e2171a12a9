//! Splitting and hashing alone: the part of a pull that its two clients do not share.
//! Each side fetches the pages once and splits them again and again.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use source::{Access, FirstPage, SourceClient, StreamPlan, split_page};
use url::Url;

use crate::compare::Ratio;
use crate::process::Runs;
use crate::pull::portal::Portal;
use crate::pull::{Work, value};
use crate::side::Side;

/// How often each page is split: fetching it once hardly counts then.
const SPLITS: usize = 20;

/// Both sides' runs.
#[derive(Default)]
pub(super) struct Splits {
    ours: Runs,
    rival: Runs,
    /// How many resources a run has split.
    resources: u64,
}

impl Splits {
    /// Runs one side.
    pub(super) fn repeat(&mut self, portal: &Portal, through_value: bool) -> Result<()> {
        let work = Work {
            store: std::path::PathBuf::new(),
            base_url: portal.base_url.clone(),
            patients: portal.patients.clone(),
            rounds: 1,
            through_value,
            only_splits: SPLITS,
        };
        let spent = Side::Pull(work).run()?;
        let resources = spent.said["resources"].as_u64();
        let resources = resources.context("a side said nothing of its resources")?;
        ensure!(
            matches!(self.resources, 0) || self.resources == resources,
            "the clients split other resources: {} and {resources}",
            self.resources
        );
        self.resources = resources;
        let runs = if through_value {
            &mut self.rival
        } else {
            &mut self.ours
        };
        runs.0.push(spent);
        Ok(())
    }

    /// The figures; `ours_s` and `rival_s` are what a resource costs in a pull.
    pub(super) fn to_json(&self, ours_s: f64, rival_s: f64) -> Value {
        let (ours, rival) = (self.ours.cpu_s(), self.rival.cpu_s());
        let speed = ours.per(self.resources as f64);
        let ratio = Ratio::of(rival, ours);
        // What a pull costs without splitting: no client can be faster than that.
        let shared_s = ours_s - ours.med / self.resources as f64;
        let bound = rival_s / shared_s;
        eprintln!(
            "     split and hash   chartlift     {:.0} resources per cpu s; through Value {ratio}\n\
             {:22}fetch and staging, which both share, are {:.0} % of our pull: no client is faster \
             than Value by more than {bound:.1}x",
            speed.med,
            "",
            100.0 * shared_s / ours_s
        );
        json!({
            "chartlift": self.ours.to_json(),
            "resources_per_cpu_s": speed.to_json(),
            "through_value": self.rival.to_json(),
            "ratio_to_value": ratio.to_json(),
            "shared_us_per_resource": (shared_s * 1e8).round() / 100.0,
            "ratio_bound": (bound * 100.0).round() / 100.0,
        })
    }
}

/// What a side does.
pub(super) async fn work(work: &Work, client: &SourceClient, plan: &[StreamPlan]) -> Result<Value> {
    let pages = pages(work, client, plan).await?;
    let mut resources = 0;
    for _ in 0..work.only_splits {
        for (url, body) in &pages {
            let found = if work.through_value {
                value::split(body)?.0
            } else {
                split_page(body, url)?.resources
            };
            resources += found.len();
        }
    }
    Ok(json!({ "resources": resources }))
}

/// The pages of all searches.
async fn pages(
    work: &Work,
    client: &SourceClient,
    plan: &[StreamPlan],
) -> Result<Vec<(Url, Bytes)>> {
    let http = value::Client::new()?;
    let mut pages = Vec::new();
    for patient in &work.patients {
        for stream in plan.iter().filter(|stream| stream.access != Access::Read) {
            let mut cursor = Some(client.first_page_url(stream, patient, FirstPage::default()));
            while let Some(link) = cursor {
                let (url, body) = (Url::parse(&link)?, http.body(&link).await?);
                cursor = split_page(&body, &url)?.next;
                pages.push((url, body));
            }
        }
    }
    Ok(pages)
}

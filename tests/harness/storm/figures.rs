//! What a storm has hit: kills of each kind, and the hits by type of step.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Kill, Storm};
use crate::{Outage, StartedStep, Struck};

impl Storm {
    pub(super) fn record(&mut self, of: Option<Outage>, hit: Vec<StartedStep>) {
        let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
        for step in &hit {
            *steps.entry(&step.step).or_default() += 1;
        }
        let steps: Vec<String> = steps
            .iter()
            .map(|(step, count)| format!("{count} × {step}"))
            .collect();
        let number = self.kills.len() + 1;
        let what = match of {
            Some(outage) => format!("{}, {} s,", outage.of.name(), outage.down.as_secs()),
            None => "worker".to_owned(),
        };
        println!(
            "seed {} kill {number} of {what} hit {}",
            self.seed,
            steps.join(", ")
        );
        self.kills.push(Kill { of, hit });
    }

    /// How often each type of step was hit by a kill of the worker.
    #[must_use]
    pub fn hits(&self) -> BTreeMap<String, u64> {
        let mut hits = BTreeMap::new();
        for step in self.worker_kills().flat_map(|kill| &kill.hit) {
            *hits.entry(step.step.clone()).or_default() += 1;
        }
        hits
    }

    fn worker_kills(&self) -> impl Iterator<Item = &Kill> {
        self.kills.iter().filter(|kill| kill.of.is_none())
    }

    /// How often a server was killed while steps of a family ran; with a time, only
    /// where it stayed down so long.
    fn outages(&self, of: Struck, family: &str, down_s: Option<u64>) -> usize {
        let is_one = |kill: &&Kill| {
            let fits = |outage: Outage| {
                outage.of == of && down_s.is_none_or(|down| outage.down.as_secs() == down)
            };
            kill.of.is_some_and(fits) && kill.hit.iter().any(|step| step.step.starts_with(family))
        };
        self.kills.iter().filter(is_one).count()
    }

    /// What to report: kills of each kind, and the hits by type of step.
    #[must_use]
    pub fn figures(&self) -> Value {
        let mut figures = json!({
            "worker_kills": self.worker_kills().count(),
            "misses": self.misses,
            "hits": self.hits(),
        });
        let times = [(None, ""), (Some(1), "_1_s"), (Some(40), "_40_s")];
        for of in [Struck::Temporal, Struck::Postgres, Struck::S3] {
            for (family, phase) in [("pull.", "pulls"), ("export.", "exports")] {
                for (down, time) in times {
                    let count = self.outages(of, family, down);
                    if count > 0 {
                        let name = format!("{}_kills_in_{phase}{time}", of.name());
                        figures[name] = json!(count);
                    }
                }
            }
        }
        figures
    }
}

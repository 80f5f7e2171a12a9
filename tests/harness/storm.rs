//! Killing what works, at moments that a seed chooses. A kill counts only if a
//! step was running: its start was logged and its end was not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{App, Random, StartedStep};

/// The activities of pulls and exports that every run passes.
pub const PULL_STEPS: &[&str] = &[
    "pull.begin",
    "pull.plan",
    "pull.pages",
    "pull.references",
    "pull.settle",
];
/// See [`PULL_STEPS`].
pub const EXPORT_STEPS: &[&str] = &[
    "export.claim",
    "export.plan",
    "export.chunk",
    "export.publish",
    "export.close",
];

/// The activities of the upkeep.
pub const MAINTAIN_STEPS: &[&str] = &[
    "maintain.merge",
    "maintain.sweep_records",
    "maintain.sweep_destinations",
    "maintain.retention",
];

/// Makes short steps long enough to be hit.
const SLOW_STEPS: &str = "pull.begin.begin=return(wait 400);pull.plan.begin=return(wait 400);\
     settle_commit.before=return(wait 700);pull.close.begin=return(wait 1500);\
     export.claim.begin=return(wait 400);export.plan.begin=return(wait 700);\
     part_write.before=return(wait 60);publication.before=return(wait 500);\
     watermark_commit.before=return(wait 300);export.close.begin=return(wait 400);\
     merge_commit.before=return(wait 300);maintain.sweep_records.begin=return(wait 300);\
     maintain.sweep_destinations.begin=return(wait 300);maintain.retention.begin=return(wait 300)";

/// How long a moment is waited for until any other will do.
const MOMENT_MAX: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// One kill that counts.
#[derive(Debug, Clone)]
pub struct Kill {
    /// `worker`, or `temporal` with the seconds it stayed down.
    pub of: String,
    /// The steps that were running.
    pub hit: Vec<StartedStep>,
}

/// A worker that is killed and started again, and what was hit.
#[derive(Debug)]
pub struct Storm {
    seed: u64,
    random: Random,
    /// What its workers find in their environment, beside slow steps.
    variables: Vec<(&'static str, &'static str)>,
    /// The kills so far.
    pub kills: Vec<Kill>,
    /// Kills that came between steps, and so do not count.
    pub misses: u32,
}

impl Storm {
    /// A storm whose moments hang on the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            variables: Vec::new(),
            kills: Vec::new(),
            misses: 0,
        }
    }

    /// The seed it runs by.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Gives its workers these variables from the next one on, and no others.
    pub fn set_variables(&mut self, variables: &[(&'static str, &'static str)]) {
        self.variables = variables.to_vec();
    }

    /// Starts the worker.
    pub fn begin(&self, app: &mut App) -> Result<()> {
        app.work(&[&[("FAILPOINTS", SLOW_STEPS)], &*self.variables].concat())
    }

    /// Kills the worker up to `count` times while steps of these types run, and
    /// starts another each time. Stops early when nothing is left to do, and
    /// returns how many kills counted.
    pub async fn kill_workers(&mut self, app: &mut App, of: &[&str], count: u32) -> Result<u32> {
        let mut counted = 0;
        while counted < count {
            let Some(delay) = self.moment(app, of).await? else {
                break;
            };
            tokio::time::sleep(delay).await;
            app.node().kill()?;
            let hit = app.node().step_log().running()?;
            self.begin(app)?;
            if hit.is_empty() {
                self.misses += 1;
                continue;
            }
            counted += 1;
            self.record("worker".to_owned(), hit);
        }
        Ok(counted)
    }

    /// Kills the Temporal server while steps of these types run, and starts it
    /// again on the same file after `down`. False if nothing was left to do.
    pub async fn kill_temporal(
        &mut self,
        app: &mut App,
        of: &[&str],
        down: Duration,
    ) -> Result<bool> {
        loop {
            let Some(delay) = self.moment(app, of).await? else {
                return Ok(false);
            };
            tokio::time::sleep(delay).await;
            app.temporal.kill()?;
            let running = app.node().step_log().running()?;
            tokio::time::sleep(down).await;
            app.temporal.restart().await?;
            let hit: Vec<StartedStep> = running
                .into_iter()
                .filter(|step| of.contains(&step.step.as_str()))
                .collect();
            if !hit.is_empty() {
                self.record(format!("temporal, {} s", down.as_secs()), hit);
                return Ok(true);
            }
            self.misses += 1;
        }
    }

    /// Waits for a moment to strike: half of them any, half of them when the type
    /// of step that was hit least has begun. Returns how long to wait still, or
    /// `None` when nothing is left to do.
    async fn moment(&mut self, app: &mut App, of: &[&str]) -> Result<Option<Duration>> {
        let hits = self.hits();
        let count = |step: &str| hits.get(step).copied().unwrap_or(0);
        let least = of.iter().map(|step| count(step)).min().unwrap_or(0);
        let rare: Vec<&str> = of
            .iter()
            .copied()
            .filter(|step| count(step) == least)
            .collect();
        let at_random = self.random.below(2) == 0;
        let chosen = rare[usize::try_from(self.random.below(rare.len() as u64))?];
        let (lead, lag) = (self.random.below(2_500), self.random.below(350));
        let started = Instant::now();
        if at_random {
            tokio::time::sleep(Duration::from_millis(lead)).await;
        }
        let mut idle_at = Instant::now();
        loop {
            if let Some(status) = app.node().ended()? {
                bail!("the worker ended by itself: {status}");
            }
            let any = at_random || started.elapsed() > MOMENT_MAX;
            let running = app.node().step_log().running()?;
            if running
                .iter()
                .any(|step| step.step == chosen || (any && of.contains(&step.step.as_str())))
            {
                return Ok(Some(Duration::from_millis(lag)));
            }
            if idle_at.elapsed() > IDLE_LOOK {
                if app.is_idle().await.context("ask whether all is done")? {
                    return Ok(None);
                }
                idle_at = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn record(&mut self, of: String, hit: Vec<StartedStep>) {
        let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
        for step in &hit {
            *steps.entry(&step.step).or_default() += 1;
        }
        let steps: Vec<String> = steps
            .iter()
            .map(|(step, count)| format!("{count} × {step}"))
            .collect();
        let number = self.kills.len() + 1;
        println!(
            "seed {} kill {number} of {of} hit {}",
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
        self.kills.iter().filter(|kill| kill.of == "worker")
    }

    /// What to report: kills of each kind, and the hits by type of step.
    #[must_use]
    pub fn figures(&self) -> Value {
        let temporal = |family: &str, down: &str| {
            let kills = self.kills.iter().filter(|kill| {
                kill.of.starts_with("temporal")
                    && kill.of.ends_with(down)
                    && kill.hit.iter().any(|step| step.step.starts_with(family))
            });
            kills.count()
        };
        json!({
            "worker_kills": self.worker_kills().count(),
            "misses": self.misses,
            "hits": self.hits(),
            "temporal_kills_in_pulls": temporal("pull.", ""),
            "temporal_kills_in_pulls_1_s": temporal("pull.", ", 1 s"),
            "temporal_kills_in_pulls_40_s": temporal("pull.", ", 40 s"),
            "temporal_kills_in_exports": temporal("export.", ""),
            "temporal_kills_in_exports_1_s": temporal("export.", ", 1 s"),
            "temporal_kills_in_exports_40_s": temporal("export.", ", 40 s"),
        })
    }
}

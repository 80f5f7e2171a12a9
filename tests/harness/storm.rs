//! Killing what works, at moments that a seed chooses. A kill counts only if a
//! step was running: its start was logged and its end was not.

mod figures;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{App, Outage, Random, StartedStep};

/// The activities of pulls and exports that every run passes.
pub const PULL_STEPS: &[&str] = &[
    "pull.begin",
    "pull.plan",
    "pull.pages",
    "pull.references",
    "pull.attachments",
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

/// The activities of probes.
pub const PROBE_STEPS: &[&str] = &["probe.run"];

/// Makes short steps long enough to be hit.
const SLOW_STEPS: &str = "pull.begin.begin=return(wait 400);pull.plan.begin=return(wait 400);\
     pull.attachments.begin=return(wait 400);settle_commit.before=return(wait 700);\
     pull.close.begin=return(wait 1500);\
     export.claim.begin=return(wait 400);export.plan.begin=return(wait 700);\
     part_write.before=return(wait 60);publication.before=return(wait 500);\
     watermark_commit.before=return(wait 300);export.close.begin=return(wait 400);\
     merge_commit.before=return(wait 300);maintain.sweep_records.begin=return(wait 300);\
     maintain.sweep_destinations.begin=return(wait 300);maintain.retention.begin=return(wait 300);\
     probe.run.begin=return(wait 700)";

/// How long a moment is waited for until any other will do.
const MOMENT_MAX: Duration = Duration::from_secs(40);
/// How long workers may take to begin.
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// One kill that counts.
#[derive(Debug, Clone)]
pub struct Kill {
    /// The server and how long it stayed down; none: a worker.
    pub of: Option<Outage>,
    /// The steps that were running.
    pub hit: Vec<StartedStep>,
}

/// Workers and servers that are killed and started again, and what was hit.
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

    /// Starts the workers.
    pub fn begin(&self, app: &mut App) -> Result<()> {
        app.work(&self.environment())
    }

    /// Starts the workers, and waits until all have opened what they work on.
    pub async fn begin_all(&self, app: &mut App) -> Result<()> {
        self.begin(app)?;
        until_begun(app).await
    }

    fn environment(&self) -> Vec<(&'static str, &'static str)> {
        [&[("FAILPOINTS", SLOW_STEPS)], &*self.variables].concat()
    }

    /// Kills a worker up to `count` times while it runs steps of these types, and
    /// starts another each time. Stops early when nothing is left to do, and
    /// returns how many kills counted.
    pub async fn kill_workers(&mut self, app: &mut App, of: &[&str], count: u32) -> Result<u32> {
        let mut counted = 0;
        while counted < count {
            let Some(moment) = self.moment(app, of, true).await? else {
                break;
            };
            tokio::time::sleep(moment.lag).await;
            let worker = &mut app.nodes()[moment.worker];
            worker.kill()?;
            let hit = worker.step_log().running()?;
            app.work_as(moment.worker, &self.environment())?;
            if hit.is_empty() {
                self.misses += 1;
                continue;
            }
            counted += 1;
            self.record(None, hit);
        }
        Ok(counted)
    }

    /// Kills a server while steps of these types run, and starts it again on what it
    /// had after a while. False if nothing was left to do.
    pub async fn strike(&mut self, app: &mut App, of: &[&str], outage: Outage) -> Result<bool> {
        // One that cannot open the database ends, and is its supervisor's to start again.
        until_begun(app).await?;
        loop {
            let Some(moment) = self.moment(app, of, false).await? else {
                return Ok(false);
            };
            tokio::time::sleep(moment.lag).await;
            app.kill_server(outage.of)?;
            let mut running = Vec::new();
            for worker in app.nodes() {
                running.extend(worker.step_log().running()?);
            }
            tokio::time::sleep(outage.down).await;
            app.restart_server(outage.of).await?;
            let hit: Vec<StartedStep> = running
                .into_iter()
                .filter(|step| of.contains(&step.step.as_str()))
                .collect();
            if !hit.is_empty() {
                self.record(Some(outage), hit);
                return Ok(true);
            }
            self.misses += 1;
        }
    }

    /// Waits for a moment to strike, any or, half of them if it is to `spread`, when
    /// the type of step that was hit least has begun. `None` when nothing is left to do.
    async fn moment(&mut self, app: &mut App, of: &[&str], spread: bool) -> Result<Option<Moment>> {
        let hits = self.hits();
        let count = |step: &str| hits.get(step).copied().unwrap_or(0);
        let least = of.iter().map(|step| count(step)).min().unwrap_or(0);
        let rare: Vec<&str> = of
            .iter()
            .copied()
            .filter(|step| count(step) == least)
            .collect();
        let at_random = self.random.below(2) == 0 || !spread;
        let chosen = rare[usize::try_from(self.random.below(rare.len() as u64))?];
        let lead_max = if spread { 2_500 } else { 800 };
        let (lead, lag) = (self.random.below(lead_max), self.random.below(350));
        let workers = app.nodes().len();
        let first = match workers {
            1 => 0,
            several => usize::try_from(self.random.below(several as u64))?,
        };
        let started = Instant::now();
        if at_random {
            tokio::time::sleep(Duration::from_millis(lead)).await;
        }
        let mut idle_at = Instant::now();
        loop {
            let any = at_random || started.elapsed() > MOMENT_MAX;
            let fits = |step: &StartedStep| {
                step.step == chosen || (any && of.contains(&step.step.as_str()))
            };
            for worker in (0..workers).map(|number| (first + number) % workers) {
                let node = &mut app.nodes()[worker];
                if let Some(status) = node.ended()? {
                    bail!("a worker ended by itself: {status}");
                }
                if node.step_log().running()?.iter().any(fits) {
                    let lag = Duration::from_millis(lag);
                    return Ok(Some(Moment { worker, lag }));
                }
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
}

/// When to strike.
struct Moment {
    /// The worker that runs what is to be hit.
    worker: usize,
    /// How long to wait still.
    lag: Duration,
}

async fn until_begun(app: &mut App) -> Result<()> {
    app.until(
        READY_MAX,
        "all workers have begun",
        async |app: &mut App| {
            let mut nodes = app.nodes().iter();
            nodes.try_fold(true, |all, node| Ok(all && node.works()?))
        },
    )
    .await
}

//! Asks for the pulls, and watches runs until nothing is left to do: bars on a
//! terminal, else a line now and then. All of it is read from the database.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use db::{Db, RunKind};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{PullId, Timestamp, Trigger};

use super::setup::Scene;
use crate::output::grouped;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// The least time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Runs read at once: more than the demo ever has open.
const RUNS: u32 = 1_000;

/// The runs of this start.
#[derive(Debug)]
pub(super) struct Runs {
    /// Those asked for now.
    pub(super) asked: BTreeSet<PullId>,
    /// Those that an earlier process had left open.
    pub(super) left: BTreeSet<PullId>,
    began: Timestamp,
}

impl Runs {
    /// All pulls of this start.
    pub(super) fn pulls(&self) -> impl Iterator<Item = &PullId> {
        self.left.union(&self.asked)
    }

    fn has(&self, pull: &PullId) -> bool {
        self.asked.contains(pull) || self.left.contains(pull)
    }
}

/// Asks for a pull of every connection.
pub(super) async fn ask(db: &Db, scene: &Scene) -> Result<Runs> {
    let began = Timestamp::now();
    let left: BTreeSet<PullId> = open_runs(db)
        .await?
        .into_iter()
        .filter(|(kind, _)| *kind == RunKind::Pull)
        .filter_map(|(_, id)| id.parse().ok())
        .collect();
    if !left.is_empty() {
        eprintln!(
            "going on with {} pulls that were at work before",
            left.len()
        );
    }
    let mut asked = BTreeSet::new();
    for connection in &scene.connections {
        asked.insert(db.request_pull(*connection, Trigger::Manual).await?);
    }
    Ok(Runs { asked, left, began })
}

/// Waits until every run has ended and no destination is due.
pub(super) async fn wait(db: &Db, runs: &Runs) -> Result<()> {
    let mut display = Display::new();
    loop {
        let now = Progress::read(db, runs).await?;
        display.show(&now);
        if now.pulls_done == now.pulls && db.is_idle().await? {
            display.end(&Progress::read(db, runs).await?);
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn open_runs(db: &Db) -> Result<Vec<(RunKind, String)>> {
    let mut queued = db.queued_runs(RunKind::Pull, RUNS).await?;
    queued.extend(db.queued_runs(RunKind::Export, RUNS).await?);
    let running = db.still_runs(Duration::ZERO, RUNS).await?;
    let running = running.into_iter().map(|open| open.run);
    Ok(queued
        .into_iter()
        .chain(running)
        .map(|run| (run.kind, run.run_id))
        .collect())
}

/// How far the runs are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Progress {
    pulls: u64,
    pulls_done: u64,
    pages: u64,
    fetched: u64,
    exports: u64,
    exports_done: u64,
    delivered: u64,
    files: u64,
}

impl Progress {
    async fn read(db: &Db, runs: &Runs) -> Result<Self> {
        let mut now = Self {
            pulls: runs.pulls().count() as u64,
            ..Self::default()
        };
        for pull in db
            .pulls(None, None, RUNS)
            .await?
            .iter()
            .filter(|pull| runs.has(&pull.id))
        {
            now.pulls_done += u64::from(pull.state.is_final());
            now.pages += pull.pages;
            now.fetched += pull.counts.fetched;
        }
        for export in db.exports(None, None, RUNS).await? {
            if export.finished_at.is_some_and(|at| at < runs.began) {
                continue;
            }
            now.exports += 1;
            now.exports_done += u64::from(export.state.is_final());
            now.delivered += export.counts.delivered;
            now.files += export.part_count;
        }
        Ok(now)
    }

    fn pulled(&self) -> String {
        format!(
            "{} pages, {} resources",
            grouped(self.pages),
            grouped(self.fetched)
        )
    }

    fn exported(&self) -> String {
        format!(
            "{} rows delivered in {} files",
            grouped(self.delivered),
            grouped(self.files)
        )
    }
}

enum Display {
    Bars {
        pulls: ProgressBar,
        exports: ProgressBar,
    },
    Lines {
        last: Option<(Instant, Progress)>,
    },
}

impl Display {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:8}{bar:24}  {msg}  {elapsed}");
        let style = style
            .expect("the template is well-formed")
            .progress_chars("━╸─");
        let bar = |prefix| {
            bars.add(
                ProgressBar::new(0)
                    .with_style(style.clone())
                    .with_prefix(prefix),
            )
        };
        Self::Bars {
            pulls: bar("pulls"),
            exports: bar("exports"),
        }
    }

    fn show(&mut self, now: &Progress) {
        match self {
            Self::Bars { pulls, exports } => {
                draw(pulls, now.pulls_done, now.pulls, &now.pulled());
                draw(exports, now.exports_done, now.exports, &now.exported());
            }
            Self::Lines { last } => {
                let is_due = last
                    .as_ref()
                    .is_none_or(|(at, shown)| at.elapsed() >= LINE_EVERY && shown != now);
                if is_due {
                    print_line(now);
                    *last = Some((Instant::now(), now.clone()));
                }
            }
        }
    }

    fn end(mut self, now: &Progress) {
        match &mut self {
            Self::Bars { .. } => {
                self.show(now);
                if let Self::Bars { pulls, exports } = self {
                    pulls.abandon();
                    exports.abandon();
                }
            }
            Self::Lines { last } => {
                if last.as_ref().is_none_or(|(_, shown)| shown != now) {
                    print_line(now);
                }
            }
        }
    }
}

/// A bar of nothing is drawn empty, not full.
fn draw(bar: &ProgressBar, done: u64, of: u64, what: &str) {
    bar.set_length(of.max(1));
    bar.set_position(done);
    bar.set_message(format!("{done}/{of}  {what}"));
}

fn print_line(now: &Progress) {
    eprintln!(
        "pulls {}/{}: {}; exports {}/{}: {}",
        now.pulls_done,
        now.pulls,
        now.pulled(),
        now.exports_done,
        now.exports,
        now.exported()
    );
}

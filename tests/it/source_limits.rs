//! Several portals at once, each asked as often as it may be and no more, by one worker
//! and by two; one that bears a single request a second holds up none of the others.
//!
//! `CHARTLIFT_CONNECTIONS`, `CHARTLIFT_SOURCES`, `CHARTLIFT_PER_SECOND`,
//! `CHARTLIFT_REQUESTS` (of a pull, at least) and `CHARTLIFT_PULL_SLOTS` make it longer
//! (`cargo xtask soak portals`).

mod portal;
mod waits;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, Node, number};
use db::testing::PostgresDatabase;
use model::{ConnectionId, PullId, RunState, Timestamp};
use serde_json::{Value, json};

use self::portal::Portal;

/// Pulls of a portal at work at the same time.
const PULLS: u32 = 5;
/// Connections to the slow portal: one for so many of the others.
const SLOW_ONE_IN: u64 = 125;
/// How long a step may wait until it is begun, whatever for.
const WAIT_MAX_MS: u64 = 2_000;
/// How often it is looked how many pulls are at work: a look costs the database more
/// than a step does.
const LOOK: Duration = Duration::from_secs(2);
const RESIDENT_MAX: u64 = 300_000_000;

/// A round of pulls: which, and what it showed.
struct Round {
    pulls: Vec<Vec<PullId>>,
    figures: Value,
    /// Pulls of a portal at work at once, at most.
    at_work_max: u64,
    /// The workers' memory at its highest.
    resident: Vec<u64>,
    wait_max_ms: u64,
}

/// The workers of a round, and whose pulls they carry out beside.
struct Beside<'a> {
    workers: &'a [&'a Node],
    slow: &'a Portal,
    slow_pulls: &'a [PullId],
    slots: usize,
}

impl Beside<'_> {
    /// The connections of the slow portal whose pulls have begun: only these have steps.
    async fn begun(&self, app: &App) -> Result<Vec<ConnectionId>> {
        let mut begun = Vec::new();
        for (connection, pull) in self.slow.connections.iter().zip(self.slow_pulls) {
            if app.core.db.pull(*pull).await?.started_at.is_some() {
                begun.push(*connection);
            }
        }
        Ok(begun)
    }
}

/// Pulls all connections of the portals, and waits until that is done.
async fn round(
    app: &mut App,
    portals: &[Portal],
    beside: &Beside<'_>,
    limit: Duration,
) -> Result<Round> {
    let (since, started) = (Timestamp::now(), Instant::now());
    let mut pulls: Vec<Vec<PullId>> = Vec::new();
    for portal in portals {
        pulls.push(app.pull(&portal.connections).await?);
    }
    let mut left: Vec<PullId> = pulls.iter().flatten().copied().collect();
    let (mut at_work_max, mut looked) = (0, None::<Instant>);
    app.until(limit, "the pulls have ended", async |app: &mut App| {
        let db = &app.core.db;
        while let Some(pull) = left.last() {
            if !db.pull(*pull).await?.state.is_final() {
                break;
            }
            left.pop();
        }
        if looked.is_none_or(|at| at.elapsed() > LOOK) {
            looked = Some(Instant::now());
            for pull in pulls.iter().filter_map(|of| of.last()) {
                let queue = db.pull_queue(*pull).await?;
                at_work_max = queue.map_or(at_work_max, |queue| queue.at_work.max(at_work_max));
            }
        }
        Ok(left.is_empty())
    })
    .await?;
    let seconds = started.elapsed().as_secs();
    let (mut uses, mut requests) = (serde_json::Map::new(), 0);
    for (portal, pulls) in portals.iter().zip(&pulls) {
        let times = portal.asked(since);
        requests += times.len();
        uses.insert(portal.name.clone(), used(app, portal, &times, pulls).await?);
    }
    let mut resident = Vec::new();
    for node in beside.workers.iter().copied().chain(app.nodes().iter()) {
        resident.push(node.memory_bytes()?.1);
    }
    let slots = beside.slots * resident.len();
    let others = beside.begun(app).await?;
    let waits = waits::waits(app, portals, &others, slots, since).await?;
    let figures = json!({
        "workers": resident.len(),
        "seconds": seconds,
        "requests": requests,
        "requests_a_pull": requests / pulls.iter().flatten().count().max(1),
        "pulls_at_work_max": at_work_max,
        "use_of_limit": uses,
        "resident_mib": resident.iter().map(|of| of >> 20).collect::<Vec<_>>(),
        "waits": waits.figures,
    });
    Ok(Round {
        pulls,
        figures,
        at_work_max,
        resident,
        wait_max_ms: waits.max_ms,
    })
}

impl Round {
    /// Fails where a bound was not kept.
    fn judge(&self, requests: u64) -> Result<()> {
        let (pulls, resident) = (self.at_work_max, &self.resident);
        ensure!(pulls <= u64::from(PULLS), "{pulls} pulls at once");
        ensure!(resident.iter().all(|of| *of < RESIDENT_MAX), "{resident:?}");
        let (wait_ms, waits) = (self.wait_max_ms, &self.figures["waits"]);
        ensure!(wait_ms <= WAIT_MAX_MS, "a step waited too long: {waits}");
        let made = self.figures["requests_a_pull"].as_u64().unwrap_or_default();
        ensure!(made >= requests, "{made} requests a pull");
        Ok(())
    }
}

/// The share of a portal's rate that was used while there were further pulls to begin.
async fn used(app: &App, portal: &Portal, times: &[i64], pulls: &[PullId]) -> Result<Value> {
    let mut last = 0;
    for pull in pulls {
        let begun = app.core.db.pull(*pull).await?.started_at;
        last = begun.map_or(last, |at| at.0.max(last));
    }
    let first = *times.first().context("the portal was asked")?;
    let seconds = ((last - first) as f64 / 1e6).max(0.001);
    let count = times.iter().filter(|at| **at < last).count();
    let share = count as f64 / (seconds * f64::from(portal.per_second));
    Ok(json!((share * 1000.0).round() / 1000.0))
}

/// Every connection has what its portal has of its patient.
async fn holds_everything(app: &App, portals: &[Portal], pulls: &[Vec<PullId>]) -> Result<()> {
    for (portal, pulls) in portals.iter().zip(pulls) {
        for (expected, pull) in portal.expected.iter().zip(pulls) {
            let pull = app.core.db.pull(*pull).await?;
            ensure!(pull.state == RunState::Completed, "{pull:?}");
            ensure!(pull.counts.new == *expected, "{expected} of {pull:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_are_asked_as_they_bear_and_a_slow_one_holds_up_none() -> Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        return Ok(());
    };
    let count = number("CHARTLIFT_CONNECTIONS", 20);
    let sources = number("CHARTLIFT_SOURCES", 2);
    let per_second = u32::try_from(number("CHARTLIFT_PER_SECOND", 40))?;
    let asked_for = number("CHARTLIFT_REQUESTS", 0);
    let slots = number("CHARTLIFT_PULL_SLOTS", 32);
    let (url, slots_text) = (database.url(), slots.to_string());
    let settings = [
        ("database.url", url.as_str()),
        ("worker.pull_slots", &slots_text),
    ];
    let mut app = App::prepare(AppOptions {
        no_source: true,
        ..AppOptions::with(&settings)
    })
    .await?;
    let slow = Portal::start(&app, "slow", 1, (count / SLOW_ONE_IN).max(1)).await?;
    let mut portals = Vec::new();
    for number in 0..sources {
        let name = format!("portal-{number}");
        portals.push(Portal::start(&app, &name, per_second, count / sources).await?);
    }
    // Three times what they bear, and the slow one's.
    let ideal = count * asked_for.max(40) / (sources * u64::from(per_second));
    let slowest = slow.connections.len() as u64 * asked_for.max(40);
    let limit = Duration::from_secs(60 + 3 * ideal.max(slowest));

    // The slow one's are queued before all others.
    let trickling = app.pull(&slow.connections).await?;
    app.work(&[])?;
    let mut beside = Beside {
        workers: &[],
        slow: &slow,
        slow_pulls: &trickling,
        slots: usize::try_from(slots)?,
    };
    let one = round(&mut app, &portals, &beside, limit).await?;
    println!("FIGURES: {}", json!({ "one_worker": one.figures }));
    holds_everything(&app, &portals, &one.pulls).await?;
    let second = app.further_worker("second", &[])?;
    let workers = [&second];
    beside.workers = &workers;
    let two = round(&mut app, &portals, &beside, limit).await?;
    println!("FIGURES: {}", json!({ "two_workers": two.figures }));
    for pull in two.pulls.iter().flatten() {
        let pull = app.core.db.pull(*pull).await?;
        ensure!(pull.state == RunState::Completed, "{pull:?}");
        ensure!(pull.counts.new + pull.counts.changed == 0, "{pull:?}");
    }
    app.idle(limit).await?;
    let slows = std::slice::from_ref(&slow);
    holds_everything(&app, slows, std::slice::from_ref(&trickling)).await?;

    let (mut most, mut too_many) = (serde_json::Map::new(), Vec::new());
    for portal in portals.iter().chain(slows) {
        let requests = portal.most();
        if requests > 10 * portal.per_second as usize {
            too_many.push(portal.name.as_str());
        }
        most.insert(portal.name.clone(), json!(requests));
    }
    println!(
        "FIGURES: {}",
        json!({
            "connections": count,
            "sources": sources,
            "per_second": per_second,
            "most_in_10_s": most,
        })
    );
    ensure!(too_many.is_empty(), "asked too often: {too_many:?}");
    one.judge(asked_for)?;
    two.judge(asked_for)?;
    second.stop()?;
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

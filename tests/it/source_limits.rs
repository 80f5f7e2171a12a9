//! Several portals at once, each asked as often as it may be and no more, by one worker
//! and by two; one that bears a single request a second holds up none of the others.
//!
//! `CHARTLIFT_CONNECTIONS`, `CHARTLIFT_SOURCES`, `CHARTLIFT_PER_SECOND`,
//! `CHARTLIFT_REQUESTS` (of a pull, at least) and `CHARTLIFT_PULL_SLOTS` make it longer
//! (`cargo xtask soak portals`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, Node, chain, generated_patient, number, slot_waits};
use db::SourceLimits;
use db::testing::PostgresDatabase;
use model::{ConnectionId, PullId, RunState, Timestamp};
use sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use steps::PatientPull;

const LATENCY: Duration = Duration::from_millis(50);
/// Resources a page.
const PAGE: u64 = 4;
/// Patients of a portal; they are connected again and again.
const PATIENTS: u64 = 4;
/// Pulls of a portal at work at the same time.
const PULLS: u32 = 5;
/// Connections to the slow portal: one for so many of the others.
const SLOW_ONE_IN: u64 = 125;
/// How long a step may wait for a slot.
const WAIT_MAX: Duration = Duration::from_secs(2);
const RESIDENT_MAX: u64 = 300_000_000;
/// No ten seconds of a portal may have more requests than its rate allows.
const WINDOW_US: i64 = 10_000_000;

struct Portal {
    name: String,
    sandbox: Sandbox,
    per_second: u32,
    connections: Vec<ConnectionId>,
    /// The resources of each of its connections.
    expected: Vec<u64>,
}

impl Portal {
    async fn start(app: &App, name: &str, per_second: u32, connections: u64) -> Result<Self> {
        let resources = (PAGE * number("CHARTLIFT_REQUESTS", 0)).max(PAGE);
        let extra = (0..PATIENTS)
            .flat_map(|patient| generated_patient(&format!("made-{patient}"), resources, patient));
        let sandbox = Sandbox::start(SandboxOptions {
            latency: LATENCY,
            page_size: PAGE as usize,
            extra: extra.collect(),
            ..SandboxOptions::default()
        })
        .await?;
        let limits = SourceLimits {
            requests_per_second: Some(per_second),
            concurrent_requests: None,
            concurrent_pulls: Some(PULLS),
        };
        let db = &app.core.db;
        app.add_source(name, sandbox.base_url(), limits).await?;
        let mut portal = Self {
            name: name.to_owned(),
            sandbox,
            per_second,
            connections: Vec::new(),
            expected: Vec::new(),
        };
        for number in 0..connections {
            let patient = format!("made-{}", number % PATIENTS);
            let expected = portal.sandbox.portal().expected(&patient).len() as u64;
            let external = format!("{name}-{number}");
            let added =
                activities::register::add_connection(db, &external, name, patient, None).await?;
            portal.connections.push(added);
            portal.expected.push(expected);
        }
        Ok(portal)
    }

    /// When it was asked since, in order.
    fn asked(&self, since: Timestamp) -> Vec<i64> {
        let log = self.sandbox.portal().log().into_iter();
        let times = log.map(|entry| entry.at_us).filter(|at| *at >= since.0);
        let mut times: Vec<i64> = times.collect();
        times.sort_unstable();
        times
    }

    /// The most requests that any ten seconds have.
    fn most(&self) -> usize {
        let times = self.asked(Timestamp(0));
        let within = times
            .iter()
            .enumerate()
            .map(|(at, from)| times[at..].partition_point(|time| *time < from + WINDOW_US));
        within.max().unwrap_or_default()
    }
}

/// What a round of pulls showed.
struct Round {
    figures: Value,
    pulls: Vec<Vec<PullId>>,
}

/// Pulls all connections of the portals, and waits until that is done.
async fn round(
    app: &mut App,
    portals: &[Portal],
    nodes: &[&Node],
    limit: Duration,
) -> Result<Round> {
    let (since, started) = (Timestamp::now(), Instant::now());
    let mut pulls: Vec<Vec<PullId>> = Vec::new();
    for portal in portals {
        pulls.push(app.pull(&portal.connections).await?);
    }
    let mut left: Vec<PullId> = pulls.iter().flatten().copied().collect();
    let mut at_work_max = 0;
    app.until(limit, "the pulls have ended", async |app: &mut App| {
        let db = &app.core.db;
        while let Some(pull) = left.last() {
            if !db.pull(*pull).await?.state.is_final() {
                break;
            }
            left.pop();
        }
        for pull in pulls.iter().filter_map(|of| of.last()) {
            let queue = db.pull_queue(*pull).await?;
            at_work_max = queue.map_or(at_work_max, |queue| queue.at_work.max(at_work_max));
        }
        Ok(left.is_empty())
    })
    .await?;
    ensure!(
        at_work_max <= u64::from(PULLS),
        "{at_work_max} pulls at once"
    );
    let mut uses = serde_json::Map::new();
    let mut requests = 0;
    for (portal, pulls) in portals.iter().zip(&pulls) {
        let times = portal.asked(since);
        requests += times.len();
        uses.insert(portal.name.clone(), used(app, portal, &times, pulls).await?);
    }
    let mut resident = Vec::new();
    for node in nodes.iter().copied().chain(app.nodes().iter()) {
        resident.push(node.memory_bytes()?.1);
    }
    ensure!(resident.iter().all(|of| *of < RESIDENT_MAX), "{resident:?}");
    let figures = json!({
        "workers": resident.len(),
        "seconds": started.elapsed().as_secs(),
        "requests": requests,
        "requests_a_pull": requests / pulls.iter().flatten().count().max(1),
        "pulls_at_work_max": at_work_max,
        "use_of_limit": uses,
        "resident_mib": resident.iter().map(|of| of >> 20).collect::<Vec<_>>(),
        "slot_wait_ms": waits(app, portals).await?,
    });
    Ok(Round { figures, pulls })
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

/// How long the steps of the portals' pulls waited for a slot.
async fn waits(app: &App, portals: &[Portal]) -> Result<Value> {
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let mut waits = Vec::new();
    for connection in portals.iter().flat_map(|of| &of.connections) {
        for history in chain::<PatientPull>(&client, &PatientPull::id(*connection)).await? {
            waits.extend(slot_waits(&history)?.into_iter().map(|(_, wait)| wait));
        }
    }
    waits.sort_unstable();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_millis() as u64;
    ensure!(!waits.is_empty(), "no step waited");
    let told = json!({"steps": waits.len(), "p50": at(50), "p99": at(99), "max": at(100)});
    println!("waits for a slot: {told}");
    ensure!(
        waits.last() <= Some(&WAIT_MAX),
        "a step waited {:?} for a slot",
        waits.last()
    );
    Ok(told)
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
    let slots = number("CHARTLIFT_PULL_SLOTS", 32).to_string();
    let url = database.url();
    let settings = [
        ("database.url", url.as_str()),
        ("worker.pull_slots", &slots),
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
    let one = round(&mut app, &portals, &[], limit).await?;
    holds_everything(&app, &portals, &one.pulls).await?;
    let second = app.further_worker("second", &[])?;
    let two = round(&mut app, &portals, &[&second], limit).await?;
    for pull in two.pulls.iter().flatten() {
        let pull = app.core.db.pull(*pull).await?;
        ensure!(pull.state == RunState::Completed, "{pull:?}");
        ensure!(pull.counts.new + pull.counts.changed == 0, "{pull:?}");
    }
    app.idle(limit).await?;
    let slows = std::slice::from_ref(&slow);
    holds_everything(&app, slows, &[trickling]).await?;

    let mut most = serde_json::Map::new();
    let mut too_many = Vec::new();
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
            "one_worker": one.figures,
            "two_workers": two.figures,
            "most_in_10_s": most,
        })
    );
    ensure!(too_many.is_empty(), "asked too often: {too_many:?}");
    for figures in [&one.figures, &two.figures] {
        let requests = figures["requests_a_pull"].as_u64().unwrap_or_default();
        ensure!(requests >= asked_for, "{requests} requests a pull");
    }
    second.stop()?;
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

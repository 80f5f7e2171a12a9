//! What one worker gets through, and what two do, on PostgreSQL: pulls of unchanged
//! records from a portal that takes its time. Not a test of speed: it says what came
//! of it, and where the processor's time went.
//!
//! `CHARTLIFT_ROUNDS` and `CHARTLIFT_CONNECTIONS` make it longer (`cargo xtask soak
//! throughput`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, generated_patient, number};
use db::testing::PostgresDatabase;
use model::ConnectionId;
use sandbox::{Knobs, SandboxOptions};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(300);
const RESOURCES: u64 = 400;
/// Ticks of `/proc` a second.
const TICKS: f64 = 100.0;

/// The processor's time that a process has taken, in seconds.
fn cpu_of(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // "pid (name) state …", and a name may hold anything; user and system time are
    // the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').context("a process's state")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|of| of.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// The processors' time that was taken by anybody, in seconds.
fn cpu_of_all() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("the first line")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|of| of.parse().ok())
        .collect();
    // All but idle and waiting for a disk.
    let busy = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4));
    Ok(busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS)
}

/// What a round with some workers took.
struct Round {
    per_second: f64,
    /// Shares of all processors: workers, portal (and this test), anybody.
    shares: [f64; 3],
}

async fn round(app: &mut App, connections: &[ConnectionId], pids: &[u32]) -> Result<Round> {
    let me = std::process::id();
    let taken = || -> Result<[f64; 3]> {
        let workers = pids.iter().map(|pid| cpu_of(*pid)).sum::<Result<f64>>()?;
        Ok([workers, cpu_of(me)?, cpu_of_all()?])
    };
    let (before, started) = (taken()?, Instant::now());
    let pulls = app.pull(connections).await?;
    app.idle(LIMIT).await?;
    let seconds = started.elapsed().as_secs_f64();
    let after = taken()?;
    let mut fetched = 0;
    for pull in pulls {
        fetched += app.core.db.pull(pull).await?.counts.fetched;
    }
    let cores = std::thread::available_parallelism()?.get() as f64;
    Ok(Round {
        per_second: fetched as f64 / seconds,
        shares: [0, 1, 2].map(|at| (after[at] - before[at]) / (seconds * cores)),
    })
}

fn told(rounds: &[Round]) -> Value {
    let spread = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "min": rounded(values[0]),
            "med": rounded(values[values.len() / 2]),
            "max": rounded(values[values.len() - 1]),
        })
    };
    json!({
        "resources_per_s": spread(&|round| round.per_second),
        "cpu_share_workers": spread(&|round| round.shares[0]),
        "cpu_share_portal": spread(&|round| round.shares[1]),
        "cpu_share_all": spread(&|round| round.shares[2]),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_worker_gets_through_and_what_two_do() -> Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        return Ok(());
    };
    let (rounds, count) = (
        number("CHARTLIFT_ROUNDS", 1),
        number("CHARTLIFT_CONNECTIONS", 4),
    );
    let names: Vec<String> = (0..count).map(|number| format!("made-{number}")).collect();
    let extra = names.iter().zip(1..);
    let extra = extra.flat_map(|(name, seed)| generated_patient(name, RESOURCES, seed));
    let url = database.url();
    let mut app = App::prepare(AppOptions {
        sandbox: SandboxOptions {
            page_size: 100,
            extra: extra.collect(),
            ..SandboxOptions::default()
        },
        ..AppOptions::with(&[("database.url", url.as_str())])
    })
    .await?;
    app.sandbox.portal().set_knobs(Knobs {
        latency_ms: 50,
        ..Knobs::default()
    });
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let connections = app.connect(&ids).await?;
    app.work(&[])?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;

    let (mut one, mut two) = (Vec::new(), Vec::new());
    let first = app.node().id();
    for _ in 0..rounds {
        one.push(round(&mut app, &connections, &[first]).await?);
        let second = app.further_worker("second", &[])?;
        two.push(round(&mut app, &connections, &[first, second.id()]).await?);
        second.stop()?;
    }
    app.all_completed().await?;
    ensure!(
        one.iter().chain(&two).all(|round| round.per_second > 0.0),
        "nothing was fetched"
    );
    println!(
        "FIGURES: {}",
        json!({ "one_worker": told(&one), "two_workers": told(&two), "connections": count, "rounds": rounds })
    );
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

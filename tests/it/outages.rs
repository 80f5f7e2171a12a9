//! On PostgreSQL and S3, with three workers: whatever is killed in pulls and in
//! exports, a worker, the server of the database, the store of all objects, runs go
//! on by themselves once it is there again, and all is as if nothing had been killed.
//!
//! `CHARTLIFT_SEED`, `CHARTLIFT_SEEDS` and `CHARTLIFT_KILLS` (of a seed) make it
//! longer; `cargo xtask soak outages --seed N` repeats a seed.

use anyhow::{Result, ensure};
use chartlift_tests::{Outage, PostgresServer, S3Server, Struck, number, skipped};
use futures::StreamExt;
use serde_json::Value;

use crate::kills::scene::Place;
use crate::kills::{Lap, Trial, carry_out, report};

/// Deployments at work at once, each with its own servers and three workers.
const SIDE_BY_SIDE: usize = 2;
const WORKERS: usize = 3;

/// Both servers in pulls and in exports, each down for so long.
fn lap(postgres_s: u64, s3_s: u64) -> Lap {
    let outages = vec![
        Outage::secs(Struck::Postgres, postgres_s),
        Outage::secs(Struck::S3, s3_s),
    ];
    (outages.clone(), outages)
}

/// Servers of a trial's own; none where some are lacking.
async fn servers() -> Result<Option<(PostgresServer, S3Server)>> {
    let Some(postgres) = PostgresServer::start().await? else {
        skipped("PostgreSQL is not there: run the tests by `cargo xtask test`");
        return Ok(None);
    };
    let Some(s3) = S3Server::start(&["records", "lake"]).await? else {
        skipped("VersityGW is not there: run the tests by `cargo xtask test`");
        return Ok(None);
    };
    Ok(Some((postgres, s3)))
}

async fn on_servers(trial: Trial) -> Result<Option<Value>> {
    let servers = servers().await?;
    if servers.is_none() {
        return Ok(None);
    }
    let workers = WORKERS;
    let place = Place { servers, workers };
    let laps = trial.outages.len();
    let figures = carry_out(trial, place).await?;
    for of in ["postgres", "s3"] {
        for phase in ["pulls", "exports"] {
            let count = figures[format!("{of}_kills_in_{phase}")].as_u64();
            ensure!(
                count.unwrap_or(0) >= laps as u64,
                "{of} was to be killed in {phase} {laps} times: {figures}"
            );
        }
    }
    Ok(Some(figures))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_runs_go_on_when_it_is_there_again() -> Result<()> {
    let (first, count) = (number("CHARTLIFT_SEED", 1), number("CHARTLIFT_SEEDS", 1));
    let kills = number("CHARTLIFT_KILLS", 1);
    let long = kills > 1;
    let trials = (first..first + count).map(|seed| Trial {
        seed,
        kills,
        latency_ms: if long { 500 } else { 250 },
        outages: match long {
            true => vec![lap(1, 40), lap(40, 1)],
            false => vec![lap(2, 2)],
        },
        rough: false,
    });
    let ends: Vec<(u64, Result<Option<Value>>)> = futures::stream::iter(trials)
        .map(|trial| async { (trial.seed, on_servers(trial).await) })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let was_run = |(seed, end): (u64, Result<Option<Value>>)| Some((seed, end.transpose()?));
    report("outages", ends.into_iter().filter_map(was_run).collect())
}

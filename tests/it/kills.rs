//! Killed at moments that a seed chooses, worker and Temporal server alike, runs
//! go on by themselves: nothing is lost, nothing is delivered twice, and all is
//! as if nobody had been killed.
//!
//! `CHARTLIFT_SEED`, `CHARTLIFT_SEEDS` and `CHARTLIFT_KILLS` (of a seed) make it
//! longer; `cargo xtask soak kills --seed N` repeats a seed.

mod cancelled;
mod compare;
mod probed;
pub(crate) mod scene;
mod upkeep;

use anyhow::{Result, ensure};
use chartlift_tests::{Outage, Struck, number};
use futures::StreamExt;
use serde_json::{Value, json};

use self::scene::{Place, Scene};

/// Deployments at work at once: mostly they wait for a heartbeat to time out.
const SIDE_BY_SIDE: usize = 4;
const LAPS_MAX: usize = 60;
/// Laps in which runs are cancelled and logs merged, too.
const ROUGH_LAPS: usize = 2;
/// Kills in the upkeep of a lap.
const UPKEEP_KILLS: u32 = 4;
/// Kills in the probes of a lap.
const PROBE_KILLS: u32 = 1;

/// The servers that are killed in the pulls and in the exports of a lap.
pub(crate) type Lap = (Vec<Outage>, Vec<Outage>);

/// How long and how rough a storm is.
pub(crate) struct Trial {
    pub(crate) seed: u64,
    /// Kills of a worker in all.
    pub(crate) kills: u64,
    /// Waited before each answer of the portal.
    pub(crate) latency_ms: u64,
    /// The outages, lap by lap.
    pub(crate) outages: Vec<Lap>,
    /// Whether runs are cancelled too, and killed while they end, and the upkeep
    /// is killed.
    pub(crate) rough: bool,
}

/// Laps of changes, pulls and exports until there were enough kills.
pub(crate) async fn carry_out(trial: Trial, place: Place) -> Result<Value> {
    let mut scene = Scene::new(&trial, place).await?;
    let (mut left, mut lap) = (trial.kills, 0);
    let per_phase = trial.kills.div_ceil(2).min(8);
    while left > 0 || lap < trial.outages.len() {
        ensure!(
            lap < LAPS_MAX,
            "{left} kills are left after {LAPS_MAX} laps"
        );
        let outages = trial.outages.get(lap);
        let rough = trial.rough && lap < ROUGH_LAPS;
        let (in_pulls, in_exports) = outages.cloned().unwrap_or_default();
        let kills = u32::try_from(per_phase.min(left))?;
        left -= u64::from(scene.pulls(&trial, kills, &in_pulls).await?);
        let kills = u32::try_from(per_phase.min(left))?;
        left -= u64::from(scene.exports(kills, &in_exports).await?);
        if rough {
            let counted = scene.cancelled_exports().await?
                + scene.cancelled_pulls().await?
                + scene.upkeep(&trial, UPKEEP_KILLS).await?
                + scene.probes(&trial, PROBE_KILLS).await?;
            left = left.saturating_sub(u64::from(counted));
        }
        lap += 1;
    }
    let mut figures = scene.storm.figures();
    figures["rounds"] = json!(scene.round);
    figures["pages_fetched_again"] = json!(scene.refetched);
    figures["pages_fetched_again_allowed"] = json!(scene.refetched_max);
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_output_is_as_if_undisturbed() -> Result<()> {
    let (first, count) = (number("CHARTLIFT_SEED", 1), number("CHARTLIFT_SEEDS", 2));
    let kills = number("CHARTLIFT_KILLS", 4);
    let long = kills > 4;
    let trials = (first..first + count).map(|seed| Trial {
        seed,
        kills,
        latency_ms: if long { 1_000 } else { 250 },
        outages: match (long, seed % 2) {
            (true, _) => vec![
                (of_temporal(1), of_temporal(40)),
                (of_temporal(40), of_temporal(1)),
            ],
            (false, 1) => vec![(of_temporal(40), Vec::new())],
            (false, _) => vec![(Vec::new(), of_temporal(1))],
        },
        rough: long,
    });
    let ends: Vec<(u64, Result<Value>)> = futures::stream::iter(trials)
        .map(|trial| async { (trial.seed, carry_out(trial, Place::default()).await) })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    report("kills", ends)
}

fn of_temporal(seconds: u64) -> Vec<Outage> {
    vec![Outage::secs(Struck::Temporal, seconds)]
}

/// Prints the figures of the seeds, and fails if one of them did.
pub(crate) fn report(soak: &str, ends: Vec<(u64, Result<Value>)>) -> Result<()> {
    let mut failed = Vec::new();
    for (seed, end) in ends {
        match end {
            Ok(figures) => println!("FIGURES: {}", json!({ format!("seed {seed}"): figures })),
            Err(error) => failed.push(format!(
                "seed {seed}: {error:#}\nagain: cargo xtask soak {soak} --seed {seed} --seeds 1"
            )),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

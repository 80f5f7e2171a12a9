//! Hours of changes, pulls, exports and kills leave a worker as large as it was
//! soon after its start, and everything in order.
//!
//! `CHARTLIFT_ENDURANCE_MINUTES` makes it longer (`cargo xtask soak endurance`:
//! 60).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, Random, number};
use model::FileFormat;
use sandbox::Knobs;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(240);
/// A worker has found its size by then.
const WARM_MAX: Duration = Duration::from_secs(300);
const GROWTH_MAX: f64 = 0.10;
/// A shorter life says nothing.
const SAMPLES_MIN: usize = 8;

/// The memory of one worker after each round of its life.
#[derive(Default)]
struct Generation {
    samples: Vec<(Duration, u64)>,
}

impl Generation {
    /// Its size at the end over that of its first minutes, less one.
    fn growth(&self) -> Option<f64> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let life = self.samples.last()?.0;
        let warm = WARM_MAX.min(life / 2);
        let early = self.samples.iter().filter(|(at, _)| *at <= warm);
        let early = early.map(|(_, bytes)| *bytes).max()?;
        let mut late: Vec<u64> = self
            .samples
            .iter()
            .filter(|(at, _)| *at >= life * 3 / 4)
            .map(|(_, bytes)| *bytes)
            .collect();
        late.sort_unstable();
        Some(late[late.len() / 2] as f64 / early as f64 - 1.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_not_grow_with_its_work() -> Result<()> {
    let minutes = number("CHARTLIFT_ENDURANCE_MINUTES", 2);
    let mut random = Random::new(number("CHARTLIFT_SEED", 1));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    // A minute in short runs, ten in long ones.
    let life = Duration::from_secs((minutes * 30).min(600));
    let mut app = App::prepare(AppOptions::default()).await?;
    let patients = crate::delivery_exact::small_patients(&app);
    let names: Vec<&str> = patients.iter().map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    let ndjson = app.destination("ndjson", FileFormat::NdjsonZstd).await?;

    let (mut rounds, mut kills, mut generations) = (0_u64, 0_u64, Vec::new());
    while Instant::now() < end {
        let born = Instant::now();
        let mut generation = Generation::default();
        app.work(&[])?;
        while Instant::now() < end && born.elapsed() < life {
            rounds += 1;
            change(&app, &patients, rounds, &mut random);
            app.pull(&connections).await?;
            app.idle(LIMIT).await?;
            let (resident, _) = app.node().memory_bytes()?;
            generation.samples.push((born.elapsed(), resident));
        }
        // The next worker finds a pull that was cut off: a slow portal makes its
        // steps last.
        let slow = Knobs {
            latency_ms: 500,
            ..Knobs::default()
        };
        app.sandbox.portal().set_knobs(slow);
        change(&app, &patients, rounds, &mut random);
        app.pull(&connections).await?;
        app.until(LIMIT, "a step runs", async |app: &mut App| {
            Ok(!app.node().step_log().running()?.is_empty())
        })
        .await?;
        app.node().kill()?;
        app.sandbox.portal().set_knobs(Knobs::default());
        kills += 1;
        generations.push(generation);
    }
    app.work(&[])?;
    app.idle(LIMIT).await?;
    app.down()?;
    app.all_completed().await?;
    app.verified().await?;
    app.holds_what_was_served(0, &[parquet, ndjson]).await?;

    let growth: Vec<f64> = generations.iter().filter_map(Generation::growth).collect();
    let sizes = generations.iter().filter_map(|of| of.samples.last());
    println!(
        "FIGURES: {}",
        json!({
            "minutes": minutes,
            "rounds": rounds,
            "kills": kills,
            "resident_mib": sizes.map(|(_, bytes)| bytes >> 20).collect::<Vec<_>>(),
            "growth": growth,
        })
    );
    ensure!(
        !growth.is_empty(),
        "no worker lived long enough to be judged"
    );
    ensure!(
        growth.iter().all(|growth| *growth <= GROWTH_MAX),
        "workers grew by {growth:?}"
    );
    Ok(())
}

/// A few resources of a few patients change, and one is new.
fn change(app: &App, patients: &[String], round: u64, random: &mut Random) {
    for number in 0..5 {
        let at = random.below(patients.len() as u64) as usize;
        let patient = &patients[at];
        let id = if number == 0 {
            format!("endurance-{patient}-of-{round}")
        } else {
            format!("endurance-{patient}-{}", random.below(10))
        };
        app.sandbox.portal().put(&format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"endurance"}},"valueQuantity":{{"value":{}.0}}}}"#,
            random.below(1_000)
        ));
    }
}

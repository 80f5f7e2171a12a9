//! Killed at moments that a seed chooses, worker and Temporal server alike, runs
//! go on by themselves: nothing is lost, nothing is delivered twice, and all is
//! as if nobody had been killed.
//!
//! `CHARTLIFT_SEED`, `CHARTLIFT_SEEDS` and `CHARTLIFT_KILLS` (of a seed) make it
//! longer; `cargo xtask soak kills --seed N` repeats a seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{
    App, AppOptions, EXPORT_STEPS, PULL_STEPS, Storm, delivered_files, number, pages_per_object,
    parquet_rows, refetched_pages,
};
use futures::StreamExt;
use model::{ConnectionId, DestinationId, FileFormat, RunState};
use sandbox::{Knobs, SandboxOptions};
use serde_json::{Value, json};
use steps::PatientPull;
use temporalio_client::WorkflowCancelOptions;

/// Deployments at work at once: mostly they wait for a heartbeat to time out.
const SIDE_BY_SIDE: usize = 2;
/// After the last kill, what it cut off is tried again after 30 s.
const HEALED: Duration = Duration::from_secs(240);
const UNDISTURBED: Duration = Duration::from_secs(120);
const ROUNDS_MAX: u32 = 60;

/// How long and how rough a storm is.
struct Trial {
    seed: u64,
    /// Kills of the worker in all.
    kills: u64,
    /// Waited before each answer of the portal.
    latency_ms: u64,
    /// Seconds that the Temporal server is down in pulls and in exports, one a
    /// round.
    outages: Vec<(Option<u64>, Option<u64>)>,
    /// Whether pulls are cancelled too, and killed while they end.
    cancels: bool,
}

/// What goes on in a trial.
struct Scene {
    app: App,
    storm: Storm,
    patients: Vec<String>,
    connections: Vec<ConnectionId>,
    destinations: Vec<DestinationId>,
    staging_target: u64,
    refetched: u64,
    refetched_max: u64,
    round: u32,
}

impl Scene {
    async fn new(trial: &Trial) -> Result<Self> {
        let storm = Storm::new(trial.seed);
        // With 1, each page that holds something is saved by itself.
        let targets = [256 << 10, 1, 32 << 10];
        let staging_target = targets[usize::try_from(trial.seed % 3)?];
        let settings = [
            ("worker.staging_size_target_bytes", staging_target),
            ("worker.part_size_target_bytes", 65_536),
            ("worker.chunk_rows_target", 250),
            ("worker.pull_slots", 16),
            // Destinations that a kill has troubled are not left alone for long.
            ("worker.back_off_first_ms", 1_000),
            ("worker.back_off_max_ms", 2_000),
        ];
        let app = App::prepare(AppOptions {
            sandbox: SandboxOptions::default(),
            settings: settings
                .map(|(key, value)| (key.to_owned(), value.to_string()))
                .into(),
        })
        .await?;
        let patients = middling_patients(&app);
        let names: Vec<&str> = patients.iter().map(String::as_str).collect();
        let connections = app.connect(&names).await?;
        Ok(Self {
            app,
            storm,
            patients,
            connections,
            destinations: Vec::new(),
            staging_target,
            refetched: 0,
            refetched_max: 0,
            round: 0,
        })
    }

    /// Changes the portal; pulls in a storm what a twin pulls in peace.
    async fn pulls(&mut self, trial: &Trial, kills: u32, outage: Option<u64>) -> Result<u32> {
        self.change_portal();
        let mut twin = self.app.twin().await?;
        twin.work(&[])?;
        twin.pull(&self.connections).await?;
        twin.idle(UNDISTURBED).await.context("the twin's pulls")?;
        all_but_cancelled_completed(&twin).await?;
        let undisturbed = twin.log_rows().await?;
        twin.down()?;
        drop(twin);

        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: trial.latency_ms,
            ..Knobs::default()
        });
        let served_from = portal.log().len() as u64;
        let hit_before = self.storm.hits();
        self.storm.begin(&mut self.app)?;
        self.app.pull(&self.connections).await?;
        if let Some(down) = outage {
            let down = Duration::from_secs(down);
            self.storm
                .kill_temporal(&mut self.app, PULL_STEPS, down)
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, PULL_STEPS, kills)
            .await?;
        self.heal().await.context("the pulls in a storm")?;
        portal.set_knobs(Knobs::default());

        ensure!(
            self.app.log_rows().await? == undisturbed,
            "the disturbed pulls wrote other rows than the undisturbed ones"
        );
        let log = portal.log();
        let served = &log[usize::try_from(served_from)?..];
        self.count_refetched(served, &hit_before)?;
        self.app
            .holds_what_was_served(served_from, &self.destinations)
            .await?;
        Ok(counted)
    }

    /// Delivers to two new destinations in a storm what a twin delivers in peace.
    async fn exports(&mut self, kills: u32, outage: Option<u64>) -> Result<u32> {
        let mut twin = self.app.twin().await?;
        let peaceful = add_destinations(&twin, self.round).await?;
        twin.work(&[])?;
        twin.idle(UNDISTURBED).await.context("the twin's exports")?;
        all_but_cancelled_completed(&twin).await?;

        let disturbed = add_destinations(&self.app, self.round).await?;
        self.storm.begin(&mut self.app)?;
        if let Some(down) = outage {
            let down = Duration::from_secs(down);
            self.storm
                .kill_temporal(&mut self.app, EXPORT_STEPS, down)
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, EXPORT_STEPS, kills)
            .await?;
        self.heal().await.context("the exports in a storm")?;

        for (of_twin, of_app) in peaceful.iter().zip(&disturbed) {
            same_files(&twin, *of_twin, &self.app, *of_app).await?;
        }
        self.destinations.extend(disturbed);
        self.app
            .holds_what_was_served(0, &self.destinations)
            .await?;
        twin.down()?;
        Ok(counted)
    }

    /// Cancels a pull and kills the worker while it ends; the rows that it would
    /// have brought come with the next one.
    async fn cancelled_pulls(&mut self) -> Result<u32> {
        self.change_portal();
        self.storm.begin(&mut self.app)?;
        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: 1_000,
            ..Knobs::default()
        });
        self.app.pull(&self.connections[..2]).await?;
        self.app
            .until(
                UNDISTURBED,
                "the pulls have begun",
                async |app: &mut App| {
                    let running = app.node().step_log().running()?;
                    Ok(running
                        .iter()
                        .filter(|of| of.step == "pull.pages")
                        .map(|of| &of.workflow)
                        .collect::<std::collections::BTreeSet<_>>()
                        .len()
                        == 2)
                },
            )
            .await?;
        let client = self.app.temporal.client().await?;
        for connection in &self.connections[..2] {
            client
                .get_workflow_handle::<PatientPull>(PatientPull::id(*connection))
                .cancel(WorkflowCancelOptions::default())
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, &["pull.close"], 1)
            .await?;
        self.app.idle(HEALED).await?;
        portal.set_knobs(Knobs::default());
        self.app.down()?;
        self.app.verified().await?;
        for pull in self.app.core.db.pulls(None, None, 2).await? {
            ensure!(
                pull.state == RunState::Cancelled,
                "{} is {}",
                pull.id,
                pull.state
            );
        }
        Ok(counted)
    }

    /// Waits until all is done, and ends the worker.
    async fn heal(&mut self) -> Result<()> {
        self.app.idle(HEALED).await?;
        all_but_cancelled_completed(&self.app).await?;
        self.app.down()?;
        self.app.verified().await
    }

    /// New resources for each patient, and changes of those of the last round.
    fn change_portal(&mut self) {
        self.round += 1;
        for patient in &self.patients {
            for number in 0..3 {
                for round in [self.round - 1, self.round] {
                    if round == 0 {
                        continue;
                    }
                    self.app.sandbox.portal().put(&format!(
                        r#"{{"resourceType":"Observation","id":"storm-{patient}-{round}-{number}","status":"final","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"storm"}},"valueQuantity":{{"value":{}.{}0}}}}"#,
                        self.round, number
                    ));
                }
            }
        }
    }

    /// Each kill may cost what one staging object holds, for each stream in flight.
    fn count_refetched(
        &mut self,
        served: &[sandbox::LogEntry],
        hit_before: &BTreeMap<String, u64>,
    ) -> Result<()> {
        let mut sizes = BTreeMap::new();
        for patient in &self.patients {
            for (key, text) in self.app.sandbox.portal().expected(patient) {
                sizes.insert(key, text.len() as u64);
            }
        }
        let count = |hits: &BTreeMap<String, u64>| hits.get("pull.pages").copied().unwrap_or(0);
        let hits = count(&self.storm.hits()) - count(hit_before);
        let allowed = hits * pages_per_object(served, &sizes, self.staging_target);
        let refetched = refetched_pages(served);
        println!(
            "seed {}: {refetched} pages fetched again, {allowed} allowed ({hits} streams cut off)",
            self.storm.seed()
        );
        self.refetched += refetched;
        self.refetched_max += allowed;
        ensure!(
            refetched <= allowed,
            "{refetched} pages were fetched again, {allowed} allowed"
        );
        Ok(())
    }
}

/// Fails if a run ended otherwise than completed, or a pull than cancelled.
async fn all_but_cancelled_completed(app: &App) -> Result<()> {
    let db = &app.core.db;
    for pull in db.pulls(None, None, 10_000).await? {
        ensure!(
            matches!(pull.state, RunState::Completed | RunState::Cancelled),
            "{} is {} ({:?})",
            pull.id,
            pull.state,
            pull.error_code
        );
    }
    for export in db.exports(None, None, 10_000).await? {
        ensure!(
            export.state == RunState::Completed,
            "{} is {} ({:?})",
            export.id,
            export.state,
            export.error_code
        );
    }
    Ok(())
}

/// Six patients with a history of some pages.
fn middling_patients(app: &App) -> Vec<String> {
    let mut sized: Vec<(usize, String)> = app
        .sandbox
        .patients()
        .into_iter()
        .map(|patient| (app.sandbox.portal().expected(&patient.id).len(), patient.id))
        .filter(|(rows, _)| (100..1_500).contains(rows))
        .collect();
    sized.sort();
    sized.into_iter().take(6).map(|(_, id)| id).collect()
}

async fn add_destinations(app: &App, round: u32) -> Result<[DestinationId; 2]> {
    let parquet = format!("parquet-{round}");
    let ndjson = format!("ndjson-{round}");
    Ok([
        app.destination(&parquet, FileFormat::Parquet).await?,
        app.destination(&ndjson, FileFormat::NdjsonZstd).await?,
    ])
}

/// NDJSON: equal files, chunk by chunk. Parquet: equal rows in all columns but
/// the export's id.
async fn same_files(
    twin: &App,
    of_twin: DestinationId,
    app: &App,
    of_app: DestinationId,
) -> Result<()> {
    let (peaceful, disturbed) = (twin.delivered(of_twin).await?, app.delivered(of_app).await?);
    let row = app.core.db.destination(&of_app.to_string()).await?;
    if row.format == FileFormat::Parquet {
        let twin_row = twin.core.db.destination(&of_twin.to_string()).await?;
        ensure!(
            parquet_rows(Path::new(&twin_row.location), &peaceful)?
                == parquet_rows(Path::new(&row.location), &disturbed)?,
            "{}: other rows than undisturbed",
            row.name
        );
    } else {
        ensure!(
            delivered_files(&peaceful) == delivered_files(&disturbed),
            "{}: other files than undisturbed",
            row.name
        );
    }
    ensure!(!disturbed.all().is_empty(), "{} is empty", row.name);
    Ok(())
}

/// Rounds of changes, pulls and exports until there were enough kills.
async fn carry_out(trial: Trial) -> Result<Value> {
    let mut scene = Scene::new(&trial).await?;
    let (mut left, mut close_kills) = (trial.kills, 0);
    let per_phase = trial.kills.div_ceil(2).min(8);
    while left > 0 || (scene.round as usize) < trial.outages.len() {
        ensure!(
            scene.round < ROUNDS_MAX,
            "{left} kills are left after {ROUNDS_MAX} rounds"
        );
        if trial.cancels && close_kills < 2 {
            let counted = u64::from(scene.cancelled_pulls().await?);
            close_kills += counted;
            left = left.saturating_sub(counted);
        }
        let outages = trial.outages.get(scene.round as usize);
        let (in_pulls, in_exports) = outages.copied().unwrap_or_default();
        let kills = u32::try_from(per_phase.min(left))?;
        left -= u64::from(scene.pulls(&trial, kills, in_pulls).await?);
        let kills = u32::try_from(per_phase.min(left))?;
        left -= u64::from(scene.exports(kills, in_exports).await?);
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
            (true, _) => vec![(Some(1), Some(40)), (Some(40), Some(1))],
            (false, 1) => vec![(Some(40), None)],
            (false, _) => vec![(None, Some(1))],
        },
        cancels: long,
    });
    let ends: Vec<(u64, Result<Value>)> = futures::stream::iter(trials)
        .map(|trial| async { (trial.seed, carry_out(trial).await) })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let mut failed = Vec::new();
    for (seed, end) in ends {
        match end {
            Ok(figures) => println!("FIGURES: {}", json!({ format!("seed {seed}"): figures })),
            Err(error) => failed.push(format!(
                "seed {seed}: {error:#}\nagain: cargo xtask soak kills --seed {seed} --seeds 1"
            )),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

//! A deployment in a storm, and its twins in peace.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{
    App, AppOptions, EXPORT_STEPS, PULL_STEPS, Storm, delivered_files, pages_per_object,
    parquet_rows, refetched_pages,
};
use model::{ConnectionId, DestinationId, FileFormat, RunState};
use sandbox::{Knobs, LogEntry};

use super::Trial;

/// After the last kill, what it cut off is tried again after 30 s.
pub(super) const HEALED: Duration = Duration::from_secs(240);
pub(super) const UNDISTURBED: Duration = Duration::from_secs(120);

/// What goes on in a trial.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) storm: Storm,
    patients: Vec<String>,
    pub(super) connections: Vec<ConnectionId>,
    pub(super) destinations: Vec<DestinationId>,
    staging_target: u64,
    pub(super) refetched: u64,
    pub(super) refetched_max: u64,
    pub(super) round: u32,
}

impl Scene {
    pub(super) async fn new(trial: &Trial) -> Result<Self> {
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
            // So that the upkeep is there soon when it is asked for.
            ("maintain.interval_ms", 1_000),
        ];
        let app = App::prepare(AppOptions {
            settings: settings
                .map(|(key, value)| (key.to_owned(), value.to_string()))
                .into(),
            ..AppOptions::default()
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
    pub(super) async fn pulls(
        &mut self,
        trial: &Trial,
        kills: u32,
        outage: Option<u64>,
    ) -> Result<u32> {
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
    pub(super) async fn exports(&mut self, kills: u32, outage: Option<u64>) -> Result<u32> {
        let mut twin = self.app.twin().await?;
        let name = self.round.to_string();
        let peaceful = add_destinations(&twin, &name).await?;
        twin.work(&[])?;
        twin.idle(UNDISTURBED).await.context("the twin's exports")?;
        all_but_cancelled_completed(&twin).await?;

        let disturbed = add_destinations(&self.app, &name).await?;
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

    /// Waits until all is done, and ends the worker.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.app.idle(HEALED).await?;
        all_but_cancelled_completed(&self.app).await?;
        self.app.down()?;
        self.app.verified().await
    }

    /// For each patient: new resources, changes of those of the last round, and of
    /// the round before all but one go.
    pub(super) fn change_portal(&mut self) {
        self.round += 1;
        let portal = self.app.sandbox.portal();
        for patient in &self.patients {
            let id = |round: u32, number| format!("storm-{patient}-{round}-{number}");
            for number in 0..3 {
                for round in [self.round - 1, self.round] {
                    portal.put(&observation(&id(round, number), patient, self.round));
                }
                if self.round >= 3 && number > 0 {
                    portal.remove("Observation", &id(self.round - 2, number));
                }
            }
        }
    }

    /// Each kill may cost what one staging object holds, for each stream in flight.
    fn count_refetched(
        &mut self,
        served: &[LogEntry],
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

/// Fails if a run ended otherwise than completed or cancelled.
async fn all_but_cancelled_completed(app: &App) -> Result<()> {
    let db = &app.core.db;
    for pull in db.pulls(None, None, 10_000).await? {
        ensure!(
            is_fine(pull.state),
            "{} is {} ({:?})",
            pull.id,
            pull.state,
            pull.error_code
        );
    }
    for export in db.exports(None, None, 10_000).await? {
        ensure!(
            is_fine(export.state),
            "{} is {} ({:?})",
            export.id,
            export.state,
            export.error_code
        );
    }
    Ok(())
}

fn observation(id: &str, patient: &str, value: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"storm"}},"valueQuantity":{{"value":{value}.10}}}}"#
    )
}

fn is_fine(state: RunState) -> bool {
    matches!(state, RunState::Completed | RunState::Cancelled)
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

pub(super) async fn add_destinations(app: &App, name: &str) -> Result<[DestinationId; 2]> {
    let parquet = format!("parquet-{name}");
    let ndjson = format!("ndjson-{name}");
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

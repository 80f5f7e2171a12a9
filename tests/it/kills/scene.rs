//! A deployment in a storm, and its twins in peace: in folders and SQLite, or on
//! servers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{
    App, AppOptions, EXPORT_STEPS, Outage, PULL_STEPS, PostgresServer, S3Server, StepLog, Storm,
    pages_per_object, refetched_pages,
};
use data_encoding::BASE64;
use model::{AttachmentState, ConnectionId, DestinationId, FileFormat};
use sandbox::{Knobs, LogEntry};
use serde_json::{Value, json};

use super::Trial;
use super::compare::{all_but_cancelled_completed, documents, same_files};

/// After the last kill, what it cut off is tried again after 30 s.
pub(super) const HEALED: Duration = Duration::from_secs(240);
pub(super) const UNDISTURBED: Duration = Duration::from_secs(120);

/// Where a scene takes place.
#[derive(Default)]
pub(crate) struct Place {
    /// The servers of the database and of all objects, instead of a folder.
    pub(crate) servers: Option<(PostgresServer, S3Server)>,
    /// How many work.
    pub(crate) workers: usize,
}

/// What goes on in a trial.
pub(crate) struct Scene {
    pub(super) app: App,
    pub(crate) storm: Storm,
    patients: Vec<String>,
    pub(super) connections: Vec<ConnectionId>,
    pub(super) destinations: Vec<DestinationId>,
    staging_target: u64,
    pub(crate) refetched: u64,
    pub(crate) refetched_max: u64,
    pub(crate) round: u32,
}

impl Scene {
    pub(crate) async fn new(trial: &Trial, place: Place) -> Result<Self> {
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
        let mut options = AppOptions {
            settings: settings
                .map(|(key, value)| (key.to_owned(), value.to_string()))
                .into(),
            workers: place.workers,
            ..AppOptions::default()
        };
        if let Some((postgres, s3)) = place.servers {
            options.settings.extend(s3.settings("s3://records/main"));
            (options.postgres, options.s3) = (Some(postgres), Some(s3));
        }
        let app = App::prepare(options).await?;
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
    pub(crate) async fn pulls(
        &mut self,
        trial: &Trial,
        kills: u32,
        outages: &[Outage],
    ) -> Result<u32> {
        self.change_portal();
        let mut twin = self.app.twin().await?;
        twin.work(&[])?;
        twin.pull(&self.connections).await?;
        twin.idle(UNDISTURBED).await.context("the twin's pulls")?;
        all_but_cancelled_completed(&twin).await?;
        let (rows, attachments) = (twin.log_rows().await?, documents(&twin).await?);
        let fetched = attachments.values();
        let fetched = fetched.filter(|(state, _)| *state == AttachmentState::Fetched);
        // One of each patient of each round, and of the one before the first.
        let made = self.patients.len() * (self.round as usize + 1);
        ensure!(fetched.count() >= made, "{made} documents: {attachments:?}");
        twin.down()?;
        drop(twin);

        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: trial.latency_ms,
            ..Knobs::default()
        });
        let served_from = portal.log().len() as u64;
        let cut_before = self.streams_cut_off()?;
        self.storm.begin_all(&mut self.app).await?;
        self.app.pull(&self.connections).await?;
        for outage in outages {
            self.storm
                .strike(&mut self.app, PULL_STEPS, *outage)
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, PULL_STEPS, kills)
            .await?;
        self.heal().await.context("the pulls in a storm")?;
        portal.set_knobs(Knobs::default());

        ensure!(
            self.app.log_rows().await? == rows,
            "the disturbed pulls wrote other rows than the undisturbed ones"
        );
        ensure!(
            documents(&self.app).await? == attachments,
            "the disturbed pulls have other documents than the undisturbed ones"
        );
        let log = portal.log();
        let served = &log[usize::try_from(served_from)?..];
        self.count_refetched(served, cut_before)?;
        self.app
            .holds_what_was_served(served_from, &self.destinations)
            .await?;
        Ok(counted)
    }

    /// Delivers to two new destinations in a storm what a twin delivers in peace.
    pub(crate) async fn exports(&mut self, kills: u32, outages: &[Outage]) -> Result<u32> {
        let mut twin = self.app.twin().await?;
        let name = self.round.to_string();
        let peaceful = add_destinations(&twin, &name).await?;
        twin.work(&[])?;
        twin.idle(UNDISTURBED).await.context("the twin's exports")?;
        all_but_cancelled_completed(&twin).await?;

        self.storm.begin_all(&mut self.app).await?;
        let disturbed = add_destinations(&self.app, &name).await?;
        for (number, outage) in outages.iter().enumerate() {
            if number > 0 {
                // What there was to do may be done by now.
                let more = add_destinations(&self.app, &format!("{name}-{number}")).await?;
                self.destinations.extend(more);
            }
            self.storm
                .strike(&mut self.app, EXPORT_STEPS, *outage)
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

    /// For each patient: new resources and a document, changes of those of the last
    /// round, and of the round before all observations but one go.
    pub(super) fn change_portal(&mut self) {
        self.round += 1;
        let portal = self.app.sandbox.portal();
        for patient in &self.patients {
            let id = |round: u32| format!("storm-{patient}-{round}");
            for round in [self.round - 1, self.round] {
                for resource in document(&id(round), patient, self.round) {
                    portal.put(&resource.to_string());
                }
                for number in 0..3 {
                    let id = format!("{}-{number}", id(round));
                    portal.put(&observation(&id, patient, self.round));
                }
            }
            if self.round >= 3 {
                for number in 1..3 {
                    portal.remove("Observation", &format!("{}-{number}", id(self.round - 2)));
                }
            }
        }
    }

    /// Attempts to fetch pages that a kill cut off, or an outage ended.
    fn streams_cut_off(&self) -> Result<u64> {
        let mut cut_off = 0;
        for log in self.app.worker_logs() {
            let steps = StepLog::new(&log).steps()?;
            let is_cut_off = |end: &str| end == "failed" || end == "cancelled";
            let ends = steps.iter().filter(|(step, _)| step.step == "pull.pages");
            let ends = ends.map(|(_, end)| end.outcome.as_deref());
            cut_off += ends.filter(|end| end.is_none_or(is_cut_off)).count() as u64;
        }
        Ok(cut_off)
    }

    /// Each kill may cost what one staging object holds, for each stream in flight.
    fn count_refetched(&mut self, served: &[LogEntry], cut_before: u64) -> Result<()> {
        let mut sizes = BTreeMap::new();
        for patient in &self.patients {
            for (key, text) in self.app.sandbox.portal().expected(patient) {
                sizes.insert(key, text.len() as u64);
            }
        }
        let cut_off = self.streams_cut_off()? - cut_before;
        let allowed = cut_off * pages_per_object(served, &sizes, self.staging_target);
        let refetched = refetched_pages(served);
        println!(
            "seed {}: {refetched} pages fetched again, {allowed} allowed ({cut_off} streams cut off)",
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

fn observation(id: &str, patient: &str, value: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/{patient}"}},"code":{{"text":"storm"}},"valueQuantity":{{"value":{value}.10}}}}"#
    )
}

/// A DocumentReference and the Binary that it names, other bytes each round.
fn document(id: &str, patient: &str, round: u32) -> [Value; 2] {
    let bytes = format!("{id} of round {round}").repeat(500);
    let attachment = json!({"contentType": "text/plain", "url": format!("Binary/{id}")});
    [
        json!({"resourceType": "Binary", "id": id, "contentType": "text/plain",
            "data": BASE64.encode(bytes.as_bytes())}),
        json!({"resourceType": "DocumentReference", "id": id, "status": "current",
            "subject": {"reference": format!("Patient/{patient}")},
            "description": format!("round {round}"),
            "content": [{"attachment": attachment}]}),
    ]
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

/// Two new destinations, where the deployment's own objects lie too: in folders, or
/// in S3.
pub(super) async fn add_destinations(app: &App, name: &str) -> Result<[DestinationId; 2]> {
    let place = app.place();
    let add = async |name: String, format| {
        if place.is_empty() {
            return app.destination(&name, format).await;
        }
        let location = format!("s3://lake/{place}/{name}");
        app.s3_destination(&name, &location, format).await
    };
    Ok([
        add(format!("parquet-{name}"), FileFormat::Parquet).await?,
        add(format!("ndjson-{name}"), FileFormat::NdjsonZstd).await?,
    ])
}

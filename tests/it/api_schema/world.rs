//! A deployment in which there is something for every operation: patients with
//! records, pulls that hold deletions, runs that are queued and others that can be
//! retried, keys. And the API over it, without a worker, so that all stays so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{ApiProcess, App, AppOptions, generated_patient, number, repository};
use db::{NewApiKey, NewDestination, RunKind};
use model::{ConnectionId, DestinationId, FileFormat, ProbeKind, Scope, Trigger};
use sandbox::SandboxOptions;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(120);
/// Patients whose deletions are held back, and the resources of each.
const HOLDERS: usize = 6;
const RESOURCES: u64 = 40;
/// Of everything else that is used up.
const MANY: usize = 24;
/// Destinations that can be deleted, for each example of an operation: some twenty
/// are asked for, and few twice.
const TO_DELETE: u64 = 30;
/// More keys than a page of the list has, all newer than those that ask: the list is
/// not where Schemathesis finds its own key, to revoke it.
const KEYS: usize = 210;

pub(super) struct World {
    app: App,
    api: ApiProcess,
    connected: String,
    /// Ids and names by kind.
    there: BTreeMap<&'static str, Vec<String>>,
}

impl World {
    pub(super) async fn create(seed: u64) -> Result<Self> {
        let holders: Vec<String> = (0..HOLDERS)
            .map(|number| format!("holder-{number}"))
            .collect();
        let extra = holders
            .iter()
            .flat_map(|id| generated_patient(id, RESOURCES, seed))
            .collect();
        let mut app = App::prepare(AppOptions {
            sandbox: SandboxOptions {
                extra,
                ..SandboxOptions::default()
            },
            ..AppOptions::default()
        })
        .await?;
        let full = app.api_key("full", Scope::ALL).await?;
        let read = app.api_key("read", &[Scope::Read]).await?;
        let peers = [("read", read), ("full", full)].map(|(name, key)| {
            json!({ "name": name, "fixedHeaders": [{ "name": "Authorization", "value": format!("Bearer {key}") }] })
        });
        let mut there = BTreeMap::new();
        let held = hold_deletions(&mut app, &holders).await?;
        let (to_accept, to_discard) = held.split_at(held.len() / 2);
        there.insert("pulls_to_accept", to_accept.to_vec());
        there.insert("pulls_to_discard", to_discard.to_vec());
        more(&app, &mut there).await?;
        let connections = app.core.db.connections(None, 1000).await?;
        let connected = connections
            .iter()
            .filter(|of| of.head_seq > 0)
            .map(|of| format!("{}/{}", of.patient_id, of.id));
        let connected: Vec<String> = connected.collect();
        let api = app.api_process("api").await?;
        let world = Self {
            app,
            api,
            connected: connected.join(","),
            there,
        };
        std::fs::write(world.peers(), json!({ "auth": peers }).to_string())?;
        std::fs::write(world.config(), world.configuration()?)?;
        Ok(world)
    }

    pub(super) fn url(&self) -> &str {
        self.api.url()
    }

    pub(super) fn dir(&self) -> &Path {
        self.app.dir.path()
    }

    pub(super) fn peers(&self) -> PathBuf {
        self.app.dir.path().join("peers.json")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.app.dir.path().join("schemathesis.toml")
    }

    /// Patients, each with a connection of theirs: `PATIENT/CONNECTION,…`.
    pub(super) fn connected(&self) -> &str {
        &self.connected
    }

    /// Where destinations may be made.
    pub(super) fn folder(&self) -> PathBuf {
        self.app.dir.path().join("made")
    }

    pub(super) async fn document(&self) -> Result<String> {
        let reply = reqwest::get(format!("{}/v1/openapi.json", self.url())).await?;
        Ok(reply.error_for_status()?.text().await?)
    }

    pub(super) async fn end(self) -> Result<()> {
        self.api.kill()?;
        self.app.core.db.close().await;
        Ok(())
    }

    /// What stands in the repository, with dictionaries of what is there.
    fn configuration(&self) -> Result<String> {
        let mut text = std::fs::read_to_string(repository().join("tests/it/schemathesis.toml"))?;
        for (name, values) in &self.there {
            ensure!(!values.is_empty(), "there are no {name}");
            // An array of JSON texts is one of TOML.
            let values = serde_json::to_string(values)?;
            text.push_str(&format!("\n[dictionaries.{name}]\nvalues = {values}\n"));
        }
        Ok(text)
    }
}

/// Pulls patients, lets the portal lose all their observations, and pulls again.
async fn hold_deletions(app: &mut App, holders: &[String]) -> Result<Vec<String>> {
    let names: Vec<&str> = holders.iter().map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    app.work(&[])?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.destination("delivered", FileFormat::Ndjson).await?;
    app.idle(LIMIT).await?;
    for holder in holders {
        for number in 1..RESOURCES {
            app.sandbox
                .portal()
                .remove("Observation", &format!("{holder}-{number}"));
        }
    }
    let pulls = app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.down()?;
    let held = app.core.db.waiting_deletes().await?;
    ensure!(held.len() == pulls.len(), "{held:?}");
    Ok(held.iter().map(|held| held.pull_id.to_string()).collect())
}

async fn more(app: &App, there: &mut BTreeMap<&'static str, Vec<String>>) -> Result<()> {
    let db = &app.core.db;
    let mut add = |kind: &'static str, id: String| there.entry(kind).or_default().push(id);
    for number in 0..HOLDERS {
        add("patients", format!("test-{number}"));
    }
    for row in db.patients(None, 100).await? {
        add("patients", row.id.to_string());
    }
    for row in db.sources().await? {
        add("sources", row.id.to_string());
    }
    for number in 0..3 * MANY {
        let id = db.ensure_patient(&format!("unconnected-{number}")).await?;
        add("unconnected_patients", id.to_string());
    }
    for number in 0..MANY {
        add(
            "connections",
            connection(app, &format!("given-up-{number}"))
                .await?
                .to_string(),
        );
        add(
            "pullable_connections",
            connection(app, &format!("pulled-{number}"))
                .await?
                .to_string(),
        );
        add(
            "reconnectable_connections",
            connection(app, &format!("reconnected-{number}"))
                .await?
                .to_string(),
        );
        let queued = connection(app, &format!("queued-{number}")).await?;
        add(
            "queued_pulls",
            db.request_pull(queued, Trigger::Manual).await?.to_string(),
        );
        let ended = connection(app, &format!("ended-{number}")).await?;
        let pull = db.request_pull(ended, Trigger::Manual).await?.to_string();
        db.request_cancel(RunKind::Pull, &pull).await?;
        add("cancelled_pulls", pull);

        add(
            "destinations",
            destination(app, &format!("lake-{number}"))
                .await?
                .to_string(),
        );
        let probed = destination(app, &format!("probed-{number}")).await?;
        add(
            "probes",
            db.request_probe(probed, ProbeKind::Rehearsal)
                .await?
                .to_string(),
        );
        let queued = destination(app, &format!("queued-{number}")).await?;
        add(
            "queued_exports",
            db.request_export(queued, Some(Trigger::Manual))
                .await?
                .to_string(),
        );
        let ended = destination(app, &format!("ended-{number}")).await?;
        let export = db
            .request_export(ended, Some(Trigger::Manual))
            .await?
            .to_string();
        db.request_cancel(RunKind::Export, &export).await?;
        add("cancelled_exports", export);
    }
    for number in 0..TO_DELETE * number("CHARTLIFT_EXAMPLES", 20) {
        let gone = destination(app, &format!("gone-{number}")).await?;
        add("destinations_to_delete", gone.to_string());
    }
    for number in 0..KEYS {
        let new = NewApiKey {
            name: format!("key-{number}"),
            scopes: vec![Scope::Read],
            expires_at: None,
        };
        add("keys", db.add_api_key(&new).await?.0.to_string());
    }
    Ok(())
}

async fn connection(app: &App, patient: &str) -> Result<ConnectionId> {
    let (db, source_patient) = (&app.core.db, "12345".to_owned());
    let added = activities::register::add_connection(db, patient, "sandbox", source_patient, None);
    Ok(added.await?)
}

async fn destination(app: &App, name: &str) -> Result<DestinationId> {
    let new = NewDestination {
        id: DestinationId::new(),
        name: name.to_owned(),
        location: app
            .dir
            .path()
            .join("files")
            .join(name)
            .display()
            .to_string(),
        format: FileFormat::Ndjson,
        credentials: None,
        awaits_test: false,
    };
    app.core.db.add_destination(&new).await?;
    Ok(new.id)
}

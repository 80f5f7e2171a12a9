//! A patient at a HAPI server, and what of it is here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, Hapi};
use db::{Pull, SourceChange, SourceLimits};
use model::{
    Change, ConnectionId, DestinationId, FileFormat, PullMode, Reason, Strategy, Timestamp,
    Trigger, compact, content_hash,
};
use records::SegmentReader;

const LIMIT: Duration = Duration::from_secs(240);

/// A patient of the sample data, with 320 resources of 15 types.
pub(super) const PATIENT: &str = "470b62b3-049e-d377-ed25-28633dcc9e81";

pub(super) type Key = (String, String);

pub(super) fn key(resource_type: &str, id: &str) -> Key {
    (resource_type.to_owned(), id.to_owned())
}

/// A patient at a HAPI server, what the server was given of it, and its connection.
pub(super) struct Home {
    pub(super) app: App,
    pub(super) hapi: Hapi,
    pub(super) keys: BTreeSet<Key>,
    connection: ConnectionId,
    destination: DestinationId,
}

/// What the sample data leave out for this patient: a drug that is referred to, and a
/// role.
fn added() -> [(Key, String); 3] {
    [
        (
            key("Medication", "drug"),
            r#"{"resourceType":"Medication","id":"drug","code":{"text":"a drug"}}"#.to_owned(),
        ),
        (
            key("PractitionerRole", "role"),
            r#"{"resourceType":"PractitionerRole","id":"role","active":true}"#.to_owned(),
        ),
        (
            key("MedicationRequest", "given"),
            format!(
                r#"{{"resourceType":"MedicationRequest","id":"given","status":"active","intent":"order","medicationReference":{{"reference":"Medication/drug"}},"subject":{{"reference":"Patient/{PATIENT}"}},"requester":{{"reference":"PractitionerRole/role"}},"dispenseRequest":{{"quantity":{{"value":1.10}}}}}}"#
            ),
        ),
    ]
}

impl Home {
    /// Starts both; none without the server.
    pub(super) async fn start() -> Result<Option<Self>> {
        // Small pages: of most types there are several. Pulls ask for what has changed
        // since the second of the newest.
        let mut options = AppOptions::with(&[
            ("worker.page_count", "20"),
            ("worker.full_pull_after_ms", "604800000"),
            ("worker.pull_overlap_ms", "0"),
        ]);
        options.no_source = true;
        let (hapi, app) = tokio::try_join!(Hapi::start(), App::start(options))?;
        let Some(hapi) = hapi else {
            return Ok(None);
        };
        let mut resources = BTreeMap::from(added());
        for (key, text) in app.sandbox.portal().expected(PATIENT) {
            resources.insert(key, String::from_utf8(text)?);
        }
        let started = Instant::now();
        let texts = resources.iter().map(|(key, text)| (key, text.as_str()));
        hapi.load(texts).await?;
        println!("{} resources in {:?}", resources.len(), started.elapsed());
        let db = &app.core.db;
        app.add_source("hapi", hapi.base_url(), SourceLimits::default())
            .await?;
        let destination = app.destination("lake", FileFormat::Ndjson).await?;
        let patient = PATIENT.to_owned();
        let connection = activities::register::add_connection(db, "one", "hapi", patient, None);
        let connection = connection.await?;
        let home = Self {
            app,
            hapi,
            keys: resources.into_keys().collect(),
            connection,
            destination,
        };
        home.set_newest_apart().await?;
        Ok(Some(home))
    }

    /// Changes the last resource of each type a second or more after all others: a
    /// search for what has changed since the newest then gives it alone.
    async fn set_newest_apart(&self) -> Result<()> {
        let written = async || -> Result<String> {
            let (resource_type, id) = key("Organization", "clock");
            // Another content each time, or HAPI writes nothing.
            let now = Timestamp::now().0;
            let text =
                format!(r#"{{"resourceType":"{resource_type}","id":"{id}","name":"{now}"}}"#);
            self.hapi.put(&resource_type, &id, &text).await?;
            let text = self.hapi.read(&resource_type, &id).await?;
            let resource: serde_json::Value = serde_json::from_str(&text)?;
            let at = resource["meta"]["lastUpdated"].as_str();
            let second = at.and_then(|at| at.get(..19)).context("a time")?;
            Ok(second.to_owned())
        };
        let loaded = written().await?;
        while written().await? == loaded {}
        let types: BTreeSet<&String> = self.keys.iter().map(|(name, _)| name).collect();
        for resource_type in types {
            self.change(resource_type, &self.any(resource_type)?)
                .await?;
        }
        Ok(())
    }

    /// Pulls what has changed, or everything, delivers and verifies; everything must be
    /// complete.
    pub(super) async fn pull(&mut self, full: bool) -> Result<Pull> {
        let started = Instant::now();
        let db = &self.app.core.db;
        let id = match full {
            true => {
                db.request_full_pull(self.connection, Trigger::Manual)
                    .await?
            }
            false => db.request_pull(self.connection, Trigger::Manual).await?,
        };
        self.app.idle(LIMIT).await?;
        self.app.all_completed().await?;
        self.app.verified().await?;
        let pull = self.app.core.db.pull(id).await?;
        println!("pulled in {:?}: {:?}", started.elapsed(), pull.counts);
        ensure!(pull.counts.is_true(), "{:?}", pull.counts);
        Ok(pull)
    }

    /// Sets how the server is asked from now on.
    pub(super) async fn ask_by(&self, strategy: Strategy) -> Result<()> {
        let db = &self.app.core.db;
        let change = SourceChange {
            strategy: Some(strategy),
            ..SourceChange::default()
        };
        Ok(db
            .change_source(db.source("hapi").await?.id, change)
            .await?)
    }

    /// Connects the patient once more, with a record that is empty still.
    pub(super) async fn begin_anew(&mut self, strategy: Strategy) -> Result<()> {
        self.ask_by(strategy).await?;
        let (db, patient) = (&self.app.core.db, PATIENT.to_owned());
        let name = strategy.as_str();
        let connection = activities::register::add_connection(db, name, "hapi", patient, None);
        self.connection = connection.await?;
        Ok(())
    }

    /// How many types a pull had in one of the ways that a remark tells.
    pub(super) async fn type_count(&self, pull: &Pull, way: &str) -> Result<usize> {
        let types = self.app.core.db.pull_types(pull.id).await?;
        let had = types
            .iter()
            .filter(|of| of.notes.iter().any(|note| note.code == way));
        Ok(had.count())
    }

    /// Whether a pull asked for the changes of a type alone.
    pub(super) async fn is_updated(&self, pull: &Pull, resource_type: &str) -> Result<bool> {
        let types = self.app.core.db.pull_types(pull.id).await?;
        let of = types.iter().find(|of| of.resource_type == resource_type);
        Ok(of.context("was asked for")?.mode == Some(PullMode::Updated))
    }

    /// What a pull's batch says of each of its resources.
    pub(super) async fn changes(&self, pull: &Pull) -> Result<BTreeMap<Key, (Change, Reason)>> {
        let seq = pull.batch_seq.context("nothing was found")?;
        let rows = self.rows(seq - 1, seq).await?.into_iter();
        Ok(rows
            .map(|(key, (change, reason, _))| (key, (change, reason)))
            .collect())
    }

    /// The newest row of each key in a span of the log.
    async fn rows(&self, from: u64, to: u64) -> Result<BTreeMap<Key, (Change, Reason, String)>> {
        let (db, store) = (&self.app.core.db, &self.app.core.store);
        let mut newest = BTreeMap::new();
        for batch in db.batches(self.connection, from, to).await? {
            let reader = SegmentReader::open(store, &batch.object_key).await?;
            for row in reader.footer().rows() {
                let hash = row.content_hash.to_string();
                let of = key(row.resource_type, row.id);
                newest.insert(of, (row.change, row.reason, hash));
            }
        }
        Ok(newest)
    }

    /// Fails unless the log and the destination hold exactly what the server gives for
    /// a read of each resource.
    pub(super) async fn is_as_there(&self) -> Result<()> {
        let mut there = BTreeMap::new();
        for of in &self.keys {
            let text = self.hapi.read(&of.0, &of.1).await?;
            let hash = content_hash(&compact(text.as_bytes())).to_string();
            there.insert(of.clone(), hash);
        }
        let connection = self.app.core.db.connection(self.connection).await?;
        let log = self.rows(0, connection.summary.head_seq).await?;
        let here: BTreeMap<Key, String> = log
            .into_iter()
            .filter(|(_, (change, ..))| *change != Change::Deleted)
            .map(|(key, (_, _, hash))| (key, hash))
            .collect();
        same("the log", &there, &here)?;
        let mut delivered = BTreeMap::new();
        for rows in self.app.delivered(self.destination).await?.rows {
            for row in rows {
                let of = key(&row.resource_type, &row.id);
                if row.content_hash.is_empty() {
                    delivered.remove(&of);
                } else {
                    delivered.insert(of, row.content_hash);
                }
            }
        }
        same("the destination", &there, &delivered)
    }

    /// Changes a resource at the server: an extension that no version has had.
    pub(super) async fn change(&self, resource_type: &str, id: &str) -> Result<()> {
        let mut resource: serde_json::Value =
            serde_json::from_str(&self.hapi.read(resource_type, id).await?)?;
        resource["extension"] = serde_json::json!([
            {"url": "http://example.org/changed", "valueString": Timestamp::now().0.to_string()}
        ]);
        let text = resource.to_string();
        self.hapi.put(resource_type, id, &text).await
    }

    /// The first of the resources of a type.
    pub(super) fn first(&self, resource_type: &str) -> Result<String> {
        let mut of_type = self.keys.iter().filter(|key| key.0 == resource_type);
        let (_, id) = of_type.next().context("one of this type")?;
        Ok(id.clone())
    }

    /// The last of the resources of a type.
    pub(super) fn any(&self, resource_type: &str) -> Result<String> {
        let mut of_type = self.keys.iter().filter(|key| key.0 == resource_type);
        let (_, id) = of_type.next_back().context("one of this type")?;
        Ok(id.clone())
    }
}

fn same(what: &str, there: &BTreeMap<Key, String>, here: &BTreeMap<Key, String>) -> Result<()> {
    let missing: Vec<&Key> = there
        .keys()
        .filter(|key| !here.contains_key(*key))
        .collect();
    let beyond: Vec<&Key> = here
        .keys()
        .filter(|key| !there.contains_key(*key))
        .collect();
    ensure!(
        missing.is_empty() && beyond.is_empty(),
        "{what} misses {missing:?} and has {beyond:?} beyond"
    );
    let other: Vec<&Key> = there
        .keys()
        .filter(|key| there[*key] != here[*key])
        .collect();
    ensure!(other.is_empty(), "{what} has another content of {other:?}");
    Ok(())
}

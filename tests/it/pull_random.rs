//! Whole runs against portals that change, repeat, hide and delete resources and fail at
//! random, by workers that are killed at it: in the end logs, files and API have what the
//! oracle says, every pull has counted right, and nothing went without evidence.
//!
//! `CHARTLIFT_SEED`, `CHARTLIFT_SEEDS` and `CHARTLIFT_PULLS` (with faults, of a seed) make
//! it longer (`cargo xtask soak pulls`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, EXPORT_STEPS, PULL_STEPS, Storm, number};
use db::Pull;
use futures::StreamExt;
use model::{
    ConnectionId, DestinationId, FileFormat, PullId, PullMode, Reason, RunState, Scope, Trigger,
};
use records::SegmentReader;
use sandbox::{Answer, Body, Chaos, Knobs, LogEntry};
use serde_json::{Value, json};

use crate::api_record;
use crate::kills::report;

/// Deployments at work at once: mostly they wait for a heartbeat to time out.
const SIDE_BY_SIDE: usize = 4;
/// With more pulls than this it is a long run: workers are killed in each of them, in
/// their exports too, and what fails may go on failing until a type is given up.
const SHORT: u64 = 2;
const PATIENTS: [&str; 2] = ["ann", "ben"];
/// Waited before each answer, so that there is something to kill.
const LATENCY_MS: u64 = 15;
/// Types that fail to the end take half a minute each, and so does a kill.
const LIMIT: Duration = Duration::from_secs(600);

/// A deployment at such a portal.
struct Scene {
    app: App,
    chaos: Chaos,
    storm: Storm,
    connections: Vec<ConnectionId>,
    lake: DestinationId,
    figures: BTreeMap<&'static str, u64>,
}

impl Scene {
    async fn new(seed: u64) -> Result<Self> {
        let settings = [
            // Else all pulls would ask for everything.
            ("worker.full_pull_after_ms", "604800000"),
            // A destination that a kill has troubled is not left alone for long.
            ("worker.back_off_first_ms", "1000"),
            ("worker.back_off_max_ms", "2000"),
        ];
        let mut app = App::prepare(AppOptions::with(&settings)).await?;
        let mut chaos = Chaos::new(seed, &PATIENTS);
        chaos.begin(app.sandbox.portal());
        let connections = app.connect(&PATIENTS).await?;
        let lake = app.destination("lake", FileFormat::Parquet).await?;
        let storm = Storm::new(seed);
        storm.begin_all(&mut app).await?;
        Ok(Self {
            app,
            chaos,
            storm,
            connections,
            lake,
            figures: BTreeMap::new(),
        })
    }

    fn count(&mut self, name: &'static str, number: usize) {
        *self.figures.entry(name).or_default() += number as u64;
    }

    /// Pulls each connection once, changes or everything, while workers are killed at
    /// steps of these types.
    async fn pull(&mut self, is_full: bool, of: &[&str], kills: u32) -> Result<Vec<Pull>> {
        let portal = self.app.sandbox.portal().clone();
        let served_from = portal.log().len();
        let mut ids = Vec::new();
        for connection in &self.connections {
            let (db, trigger) = (&self.app.core.db, Trigger::Manual);
            ids.push(match is_full {
                true => db.request_full_pull(*connection, trigger).await?,
                false => db.request_pull(*connection, trigger).await?,
            });
        }
        self.storm.kill_workers(&mut self.app, of, kills).await?;
        self.app
            .until(LIMIT, "the pulls have ended", async |app: &mut App| {
                for id in &ids {
                    if !app.core.db.pull(*id).await?.state.is_final() {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        let served = portal.log().split_off(served_from);
        let mut pulls = Vec::new();
        for id in ids {
            pulls.push(self.judge(id, &served).await?);
        }
        Ok(pulls)
    }

    /// Fails unless a pull has settled and counted right, and what it deleted the portal
    /// had denied meanwhile.
    async fn judge(&mut self, id: PullId, served: &[LogEntry]) -> Result<Pull> {
        let db = self.app.core.db.clone();
        let pull = db.pull(id).await?;
        let is_settled = matches!(pull.state, RunState::Completed | RunState::Partial);
        ensure!(is_settled && pull.counts.is_true(), "{pull:?}");
        let types = db.pull_types(id).await?;
        for of in &types {
            ensure!(of.counts.is_true(), "{of:?} of {pull:?}");
        }
        let changes = types.iter().filter(|of| of.mode == Some(PullMode::Updated));
        self.count("types_asked_for_changes", changes.count());
        self.count("pulls", 1);
        self.count(
            "partial_pulls",
            usize::from(pull.state == RunState::Partial),
        );
        let Some(seq) = pull.batch_seq else {
            return Ok(pull);
        };
        let batches = db.batches(pull.connection_id, seq - 1, seq).await?;
        let batch = batches.first().context("a batch that a pull names")?;
        let reader = SegmentReader::open(&self.app.core.store, &batch.object_key).await?;
        let mut deleted = 0;
        for row in reader.footer().rows().filter(|row| row.is_tombstone()) {
            let read = format!("/fhir/{}/{}", row.resource_type, row.id);
            let is_answered = |with: &[u16]| {
                let denies = |of: &LogEntry| of.path == read && with.contains(&of.status);
                served.iter().any(denies)
            };
            let is_proven = match row.reason {
                Reason::SourceDeleted => is_answered(&[410]),
                Reason::Absent => is_answered(&[404, 410]),
                Reason::None => false,
            };
            ensure!(is_proven, "{read} was deleted ({}) by {id}", row.reason);
            deleted += 1;
        }
        self.count("deleted", deleted);
        Ok(pull)
    }

    /// Fails unless everything is as the oracle says: logs, delivered files, API.
    async fn is_whole(&mut self) -> Result<()> {
        self.app.idle(LIMIT).await?;
        for export in self.app.core.db.exports(None, None, 1_000).await? {
            ensure!(export.state == RunState::Completed, "{export:?}");
        }
        self.app.holds_what_was_served(0, &[self.lake]).await?;
        self.app.verified().await?;
        let key = self.app.api_key("reader", &[Scope::Phi]).await?;
        let process = self.app.api_process("api").await?;
        let api = (process.url().to_owned(), key);
        for (number, patient) in PATIENTS.iter().enumerate() {
            let path = format!("/v1/patients/test-{number}/$everything");
            let record = api_record::page(&api, &path).await?.entries;
            ensure!(record == api_record::expected(&self.app, patient));
        }
        process.kill()
    }
}

/// The faults of a short run: what fails does so twice at most.
fn briefly(mut knobs: Knobs) -> Knobs {
    let answers = knobs.answers.values_mut();
    for answer in answers.chain(knobs.next_answers.values_mut()) {
        let fails = |of: &Answer| of.status >= 500 || of.body == Body::Truncated;
        if fails(answer) && answer.times.is_none() {
            answer.times = Some(2);
        }
    }
    knobs
}

/// Returns what was seen.
async fn run(seed: u64, pulls: u64) -> Result<Value> {
    let mut scene = Scene::new(seed).await?;
    let portal = scene.app.sandbox.portal().clone();
    let is_long = pulls > SHORT;
    for number in 0..pulls {
        let mut faults = scene.chaos.faults();
        if !is_long {
            faults = briefly(faults);
        }
        portal.set_knobs(Knobs {
            latency_ms: LATENCY_MS,
            ..faults
        });
        let is_full = scene.chaos.one_in(4);
        let of = match number % 2 {
            0 => PULL_STEPS,
            _ => EXPORT_STEPS,
        };
        let kills = u32::from(is_long || number == 0);
        scene.pull(is_full, of, kills).await?;
        scene.chaos.change(&portal);
    }
    // Without faults: once to have every type whole, once more to see what is gone.
    portal.set_knobs(scene.chaos.faultless());
    scene.pull(true, PULL_STEPS, 0).await?;
    for pull in scene.pull(true, PULL_STEPS, u32::from(is_long)).await? {
        ensure!(pull.state == RunState::Completed, "{pull:?}");
    }
    scene.is_whole().await?;
    scene.app.down()?;
    let mut figures = scene.storm.figures();
    for (name, number) in &scene.figures {
        figures[*name] = json!(number);
    }
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_that_change_and_fail_at_random_are_delivered_whole() -> Result<()> {
    let (first, count) = (number("CHARTLIFT_SEED", 1), number("CHARTLIFT_SEEDS", 3));
    let pulls = number("CHARTLIFT_PULLS", SHORT);
    let ends: Vec<(u64, Result<Value>)> = futures::stream::iter(first..first + count)
        .map(|seed| async move { (seed, run(seed, pulls).await) })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    report("pulls", ends)
}

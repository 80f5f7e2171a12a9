//! A source that is asked for a whole record at once, by `$everything` or by a bulk
//! export, brings what searches bring; and an export that is under way when its worker
//! dies is gone on with, not asked for again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, chain};
use db::SourceChange;
use model::{ConnectionId, DestinationId, FileFormat, Strategy, TypeNote};
use sandbox::{ExportKnobs, Knobs, LogEntry};
use steps::PatientPull;

use crate::histories;

/// What a kill cuts off is tried again after 30 s.
const LIMIT: Duration = Duration::from_secs(240);
const UNDER_WAY: Duration = Duration::from_secs(120);
/// Files after which the worker is killed among them.
const FILES_READ: usize = 5;
/// The recorded history of a pull with an export: those of searches have the numbers
/// before.
const HISTORY: usize = 3;

struct Scene {
    app: App,
    connection: ConnectionId,
    lake: DestinationId,
}

impl Scene {
    /// A patient with a history, at a source with this strategy.
    async fn new(strategy: Strategy, settings: &[(&str, &str)]) -> Result<Self> {
        let app = App::prepare(AppOptions::with(settings)).await?;
        let db = &app.core.db;
        let change = SourceChange {
            strategy: Some(strategy),
            ..SourceChange::default()
        };
        db.change_source(db.source("sandbox").await?.id, change)
            .await?;
        let portal = app.sandbox.portal();
        let patients = app.sandbox.patients().into_iter();
        let mut sized = patients.map(|of| (portal.expected(&of.id).len(), of.id));
        let patient = sized.find(|(rows, _)| (200..1_500).contains(rows));
        let (_, patient) = patient.context("a patient with a history")?;
        let connection = app.connect(&[&patient]).await?[0];
        let lake = app.destination("lake", FileFormat::NdjsonZstd).await?;
        Ok(Self {
            app,
            connection,
            lake,
        })
    }

    fn log(&self) -> Vec<LogEntry> {
        self.app.sandbox.portal().log()
    }

    fn asked(&self, method: &str, part: &str) -> usize {
        let log = self.log().into_iter();
        log.filter(|of| of.method == method && of.path.contains(part))
            .count()
    }

    /// Kills the worker as soon as `is_there`, and starts another.
    async fn killed_when(
        &mut self,
        what: &str,
        mut is_there: impl FnMut(&[LogEntry]) -> bool,
    ) -> Result<()> {
        self.app
            .until(UNDER_WAY, what, async |app: &mut App| {
                Ok(is_there(&app.sandbox.portal().log()))
            })
            .await?;
        self.app.node().kill()?;
        self.app.work(&[])
    }

    /// Waits for the end, and fails unless everything is there once.
    async fn ended_whole(&mut self) -> Result<()> {
        self.app.idle(LIMIT).await?;
        self.app.all_completed().await?;
        self.app.verified().await?;
        self.app.holds_what_was_served(0, &[self.lake]).await
    }

    /// Whether a remark stands with a type of the newest pull.
    async fn has_note(&self, resource_type: &str, code: &str) -> Result<bool> {
        let db = &self.app.core.db;
        let pulls = db.pulls(Some(self.connection), None, 1).await?;
        let types = db.pull_types(pulls[0].id).await?;
        let of = types.iter().find(|of| of.resource_type == resource_type);
        let of = of.with_context(|| format!("no coverage of {resource_type}"))?;
        Ok(of.notes.iter().any(|note| note.code == code))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_gone_on_with_wherever_its_worker_dies() -> Result<()> {
    // Small staging objects and small files: there is much to be cut off between.
    let settings = [("worker.staging_size_target_bytes", "16384")];
    let mut scene = Scene::new(Strategy::Bulk, &settings).await?;
    scene.app.sandbox.portal().set_knobs(Knobs {
        latency_ms: 100,
        export: ExportKnobs {
            polls: 6,
            retry_after: Some("1".to_owned()),
            lines_per_file: Some(10),
            ..ExportKnobs::default()
        },
        ..Knobs::default()
    });
    scene.app.pull(&[scene.connection]).await?;
    scene.app.work(&[])?;
    let status = |of: &&LogEntry| of.path.contains("$export-status");
    scene
        .killed_when("the export is waited for", |log| {
            log.iter().filter(status).count() >= 2
        })
        .await?;
    let looks = scene.log().iter().filter(status).count();
    ensure!(looks < 6, "it was waited for {looks} times already");
    scene
        .killed_when("its files are read", |log| {
            let files = log.iter().filter(|of| of.path.contains("$export-file"));
            files.count() >= FILES_READ
        })
        .await?;
    scene.ended_whole().await?;

    ensure!(
        scene.asked("POST", "$export") == 1,
        "it was asked for again"
    );
    ensure!(scene.asked("GET", "/Observation?") == 0);
    ensure!(scene.asked("DELETE", "$export-status") >= 1);
    ensure!(scene.app.sandbox.portal().open_exports() == 0);
    ensure!(scene.has_note("Observation", TypeNote::BY_EXPORT).await?);
    let logs: Vec<_> = scene.app.worker_logs();
    ensure!(logs.len() == 3, "{logs:?}");

    let client = worker::connect(&scene.app.temporal.address(), "default").await?;
    let histories = chain::<PatientPull>(&client, &PatientPull::id(scene.connection)).await?;
    for json in &histories {
        histories::replay("a pull with an export", json).await?;
    }
    if std::env::var_os("CHARTLIFT_RECORD").is_some() {
        histories::record("PatientPull", HISTORY, &histories[0])?;
    }
    scene.app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_ends_its_export_at_the_source() -> Result<()> {
    let mut scene = Scene::new(Strategy::Bulk, &[]).await?;
    scene.app.sandbox.portal().set_knobs(Knobs {
        export: ExportKnobs {
            polls: 1_000,
            ..ExportKnobs::default()
        },
        ..Knobs::default()
    });
    let pull = scene.app.pull(&[scene.connection]).await?[0];
    scene.app.work(&[])?;
    scene
        .app
        .until(
            UNDER_WAY,
            "the export is waited for",
            async |app: &mut App| {
                let log = app.sandbox.portal().log();
                Ok(log.iter().any(|of| of.path.contains("$export-status")))
            },
        )
        .await?;
    let db = &scene.app.core.db;
    db.request_cancel(db::RunKind::Pull, &pull.to_string())
        .await?;
    scene
        .app
        .until(UNDER_WAY, "the export has ended", async |app: &mut App| {
            Ok(app.sandbox.portal().open_exports() == 0)
        })
        .await?;
    let ended = scene.app.core.db.pull(pull).await?;
    ensure!(ended.state == model::RunState::Cancelled, "{ended:?}");
    scene.app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_brings_what_searches_bring() -> Result<()> {
    let settings = [("worker.page_count", "20")];
    let mut scene = Scene::new(Strategy::Everything, &settings).await?;
    scene.app.pull(&[scene.connection]).await?;
    scene.app.work(&[])?;
    scene.ended_whole().await?;
    ensure!(scene.asked("GET", "$everything") > 0);
    ensure!(scene.asked("GET", "/Observation?") == 0);
    ensure!(
        scene
            .has_note("Observation", TypeNote::BY_EVERYTHING)
            .await?
    );
    scene.app.down()
}

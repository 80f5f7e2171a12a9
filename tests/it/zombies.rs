//! A worker that was stopped in the middle of a step, taken for dead, and wakes
//! when another has done its work: it changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chartlift_tests::{App, AppOptions, Node, StartedStep, StepEnd};
use futures::StreamExt;
use model::{DestinationId, FileFormat, RunState, Trigger};
use steps::DestinationExport;
use temporalio_client::WorkflowCancelOptions;

const STOPS_MAX: u32 = 5;
const STOPS: Duration = Duration::from_secs(60);
/// The second attempt comes when the first has not beaten for 30 s.
const TAKEN_OVER: Duration = Duration::from_secs(150);
const WAKES: Duration = Duration::from_secs(60);

/// A deployment whose first worker stands still in a step, outside any
/// transaction.
struct Stopped {
    app: App,
    /// Where it was exporting to; of a pull, added later.
    destination: Option<DestinationId>,
    zombie: Node,
    step: StartedStep,
}

impl Stopped {
    /// One patient, pulled and delivered up to the point. A process that stands
    /// still while another of its tasks is inside a transaction would hold SQLite
    /// for all of this host: such a stop is tried anew.
    async fn at(point: &str) -> Result<Self> {
        for _ in 1..STOPS_MAX {
            let stopped = Self::once_at(point).await?;
            let written = stopped.app.core.db.lease("probe", "test", STOPS).await;
            if written.is_ok() {
                return Ok(stopped);
            }
        }
        Self::once_at(point).await
    }

    async fn once_at(point: &str) -> Result<Self> {
        let settings = [
            // Saves before the end; and one step at a time, since a process that
            // stands still inside a transaction would hold all others.
            ("worker.staging_size_target_bytes", "16384"),
            ("worker.streams_per_pull", "1"),
        ];
        let mut app = App::prepare(AppOptions::with(&settings)).await?;
        let patient = smallest_history(&app);
        let connections = app.connect(&[&patient]).await?;
        app.pull(&connections).await?;
        // It looks for due runs once, at its start, and then writes nothing but
        // its steps: the rest is started from here.
        let zombie = app.further_worker(
            "zombie",
            &[
                ("FAILPOINTS", &format!("{point}=1*return(stop)")),
                ("CHARTLIFT_WORKER__DISPATCH_INTERVAL_MS", "60000"),
            ],
        )?;
        let mut destination = None;
        let client = app.temporal.client().await?;
        app.until(STOPS, "the worker stands still", async |app: &mut App| {
            if zombie.is_paused()? {
                return Ok(true);
            }
            if destination.is_none() && app.core.db.open_run_count().await? == 0 {
                let id = app.destination("lake", FileFormat::Parquet).await?;
                destination = Some(id);
                app.core
                    .db
                    .request_export(id, Some(Trigger::Manual))
                    .await?;
                worker::start_due(&app.core, &client).await?;
            }
            Ok(false)
        })
        .await?;
        let mut running = zombie.step_log().running()?;
        let step = running.pop().context("no step was running")?;
        ensure!(running.is_empty(), "{running:?} ran beside {step:?}");
        Ok(Self {
            app,
            destination,
            zombie,
            step,
        })
    }

    /// Another worker does what is to be done.
    async fn taken_over(&mut self) -> Result<()> {
        if self.destination.is_none() {
            self.destination = Some(self.app.destination("lake", FileFormat::Parquet).await?);
        }
        self.app.work(&[])?;
        self.app.idle(TAKEN_OVER).await
    }

    /// The first worker wakes, and its step ends without having changed a thing:
    /// either its save is refused, since its token is old, or the SDK, which sees
    /// that the heartbeat is overdue, has it ended before.
    async fn woken(&mut self) -> Result<()> {
        let (zombie, step) = (&mut self.zombie, self.step.clone());
        zombie.resume()?;
        let log = zombie.step_log();
        let mut end = StepEnd::default();
        self.app
            .until(
                WAKES,
                "the step of the zombie has ended",
                async |_: &mut App| {
                    if let Some(status) = zombie.ended()? {
                        bail!("the zombie ended with {status}; log:\n{}", zombie.tail());
                    }
                    let steps: BTreeMap<StartedStep, StepEnd> = log.steps()?;
                    end = steps.get(&step).cloned().unwrap_or_default();
                    Ok(end.outcome.is_some())
                },
            )
            .await
            .with_context(|| format!("{step:?}; the zombie's log:\n{}", zombie.tail()))?;
        println!("{} of the zombie ended with {end:?}", step.step);
        ensure!(
            end.outcome.as_deref() != Some("done"),
            "{step:?} of the zombie was taken for done; its log:\n{}",
            zombie.tail()
        );
        // Nothing is left for either of them.
        self.app.idle(TAKEN_OVER).await?;
        self.app.verified().await?;
        self.app
            .holds_what_was_served(0, self.destination.as_slice())
            .await
    }
}

fn smallest_history(app: &App) -> String {
    let portal = app.sandbox.portal();
    app.sandbox
        .patients()
        .into_iter()
        .map(|patient| (portal.expected(&patient.id).len(), patient.id))
        .filter(|(rows, _)| *rows > 60)
        .min()
        .expect("the sample has patients with a history")
        .1
}

async fn wakes_too_late(point: &str) -> Result<()> {
    let mut stopped = Stopped::at(point).await?;
    stopped.taken_over().await?;
    stopped.app.all_completed().await?;
    stopped.woken().await?;
    stopped.app.down()
}

/// Stopped while publishing, its run cancelled, and the next run finished before
/// it wakes.
async fn wakes_after_the_next_run(point: &str) -> Result<()> {
    let mut stopped = Stopped::at(point).await?;
    let destination = stopped.destination.context("no export was stopped")?;
    let app = &mut stopped.app;
    let cancelled = app
        .core
        .db
        .exports(Some(destination), None, 1)
        .await?
        .remove(0);
    app.work(&[])?;
    let id = DestinationExport::id(destination);
    let client = app.temporal.client().await?;
    let handle = client.get_workflow_handle::<DestinationExport>(id);
    handle.cancel(WorkflowCancelOptions::default()).await?;
    app.until(TAKEN_OVER, "the run is cancelled", async |app: &mut App| {
        let export = app.core.db.export(cancelled.id).await?;
        Ok(export.state.is_final())
    })
    .await?;
    app.core
        .db
        .request_export(destination, Some(Trigger::Manual))
        .await?;
    app.idle(TAKEN_OVER).await?;
    let next = app
        .core
        .db
        .exports(Some(destination), None, 1)
        .await?
        .remove(0);
    ensure!(next.id != cancelled.id && next.state == RunState::Completed);
    stopped.woken().await?;
    stopped.app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_too_late_changes_nothing() -> Result<()> {
    let late = [
        "cursor_save.before",
        "settle_commit.before",
        "part_write.after",
        "publication.before",
        "watermark_commit.before",
    ];
    let cancelled = ["publication.before", "watermark_commit.before"];
    let scenarios = late
        .map(|point| (point, false))
        .into_iter()
        .chain(cancelled.map(|point| (point, true)));
    let ends: Vec<Result<()>> = futures::stream::iter(scenarios)
        .map(async |(point, cancelled)| {
            let end = if cancelled {
                wakes_after_the_next_run(point).await
            } else {
                wakes_too_late(point).await
            };
            end.with_context(|| format!("{point}, cancelled: {cancelled}"))
        })
        .buffer_unordered(4)
        .collect()
        .await;
    ends.into_iter().collect()
}

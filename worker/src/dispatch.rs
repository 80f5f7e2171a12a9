//! The loop that closes the gap between database and Temporal: it starts what is
//! due and puts back what has lost its workflow. It works by level, not by
//! signal: a lost start costs a second, never data.

mod cancel;
mod maintain;
mod probe;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use config::WorkerSettings;
use db::{Connection, DuePull, DueRun, OpenRun, RunKind};
use model::{ConnectionId, DestinationId};
use steps::{DestinationExport, ExportInput, PatientPull, PullInput};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowIdConflictPolicy,
    WorkflowStartOptions,
};
use temporalio_common::search_attributes::SearchAttributes;

use crate::Core;
use crate::run::queue;

/// How long a worker holds the lease of dispatching.
const LEASE: Duration = Duration::from_secs(5);
/// How long a started run is left alone before its start is repeated.
const START_AGAIN: Duration = Duration::from_secs(3);
/// How often running runs are compared with Temporal, and how long one may have
/// been silent before.
const GONE_CHECK: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(20);
/// How often schedules are looked at; their intervals are minutes at least.
const SCHEDULES: Duration = Duration::from_secs(10);
/// Pulls that one look at the schedules queues: it holds up the rest of a pass.
const SCHEDULED_MAX: u32 = 100;
/// How often the marks, a cache, are computed anew.
const MARKS: Duration = Duration::from_secs(600);
/// Runs of each kind looked at in a pass.
const RUNS_MAX: u32 = 500;

/// Dispatches for ever.
pub(crate) async fn run(core: Core, client: Client) {
    let holder = format!("{}-{}", std::process::id(), model::EventId::new());
    let mut started: HashMap<String, Instant> = HashMap::new();
    let mut told: HashMap<String, Instant> = HashMap::new();
    let mut probed = HashMap::new();
    // A minute after the start, then every ten: a mark lost to a race is found.
    let mut marks_at = Instant::now() + Duration::from_secs(60);
    let mut gone_at = Instant::now();
    let mut schedules_at = Instant::now();
    let mut tick = tokio::time::interval(core.settings.worker.dispatch_interval());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match core.db.lease("dispatch", &holder, LEASE).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::warn!("dispatch cannot reach the database: {error}");
                continue;
            }
        }
        if Instant::now() >= schedules_at {
            schedules_at = Instant::now() + SCHEDULES;
            match core.db.queue_scheduled_pulls(SCHEDULED_MAX).await {
                // There may be more: the next pass looks again.
                Ok(look) if look.is_full => schedules_at = Instant::now(),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("dispatch could not queue the pulls that are due: {error}");
                }
            }
        }
        match pass(&core, &client, &mut started).await {
            // A source whose pulls are quick is given its next ones soon.
            Ok(true) => tick.reset_after(core.settings.worker.dispatch_interval() / 4),
            Ok(false) => {}
            Err(error) => tracing::warn!("dispatch will try again: {error:#}"),
        }
        if let Err(error) = cancel::tell(&core, &client, &mut told).await {
            tracing::warn!("dispatch could not cancel what was asked to end: {error:#}");
        }
        if let Err(error) = probe::start_due(&core, &client, &mut probed).await {
            tracing::warn!("dispatch could not start a probe: {error:#}");
        }
        if let Err(error) = maintain::start_due(&core, &client).await {
            tracing::warn!("dispatch could not start the upkeep: {error:#}");
        }
        if gone_at.elapsed() >= GONE_CHECK {
            gone_at = Instant::now();
            if let Err(error) = put_back(&core, &client).await {
                tracing::warn!("dispatch could not look after running runs: {error:#}");
            }
        }
        if Instant::now() >= marks_at {
            marks_at = Instant::now() + MARKS;
            if let Err(error) = core.db.recompute_marks().await {
                tracing::warn!("dispatch could not compute the marks: {error}");
            }
        }
    }
}

/// Queues the exports that are due and starts the workflows of queued runs; of
/// pulls only so many of one source. Returns whether it goes on from here: some
/// were started, and others wait for them.
async fn pass(
    core: &Core,
    client: &Client,
    started: &mut HashMap<String, Instant>,
) -> Result<bool> {
    for destination in core
        .db
        .due_destinations(core.settings.worker.linger())
        .await?
    {
        core.db.request_export(destination, None).await?;
    }
    started.retain(|_, at| at.elapsed() < START_AGAIN);
    let per_source = core.settings.worker.pulls_per_source();
    for due in core.db.due_pulls(per_source, RUNS_MAX).await? {
        if let Entry::Vacant(vacant) = started.entry(due.run.run_id.clone()) {
            start_pull(core, client, &due).await?;
            vacant.insert(Instant::now());
        }
    }
    for run in core.db.queued_runs(RunKind::Export, RUNS_MAX).await? {
        if let Entry::Vacant(vacant) = started.entry(run.run_id.clone()) {
            start_export(core, client, &run).await?;
            vacant.insert(Instant::now());
        }
    }
    if started.is_empty() {
        return Ok(false);
    }
    // Of one more than were started, one at least waits, if there are as many.
    let most = u32::try_from(started.len()).map_or(u32::MAX, |count| count.saturating_add(1));
    let queued = core.db.queued_runs(RunKind::Pull, most).await?;
    Ok(queued.iter().any(|run| !started.contains_key(&run.run_id)))
}

/// Starts the workflows of all queued runs, once: what a command does that does
/// not want to wait for a worker's next pass.
///
/// # Errors
/// If database or Temporal do not answer.
pub async fn start_due(core: &Core, client: &Client) -> Result<()> {
    pass(core, client, &mut HashMap::new()).await.map(drop)
}

/// Starts the workflow of a pull. One that is running already will find the row in the
/// queue by itself.
async fn start_pull(core: &Core, client: &Client, due: &DuePull) -> Result<()> {
    let settings = &core.settings.worker;
    let connection_id: ConnectionId = due.run.subject_id.parse()?;
    let connection = core.db.connection(connection_id).await?;
    let patient = connection.summary.patient_id;
    let input = PullInput {
        connection_id,
        pages_per_run: u64::from(settings.pages_per_run),
        lanes: lanes(&connection, settings, due.at_once),
        chain: None,
        resume: None,
        report: steps::PullReport::default(),
    };
    let attributes = SearchAttributes::new([
        steps::CONNECTION.value_set(connection_id.to_string()),
        steps::PATIENT.value_set(patient.to_string()),
    ]);
    let id = PatientPull::id(connection_id);
    let options = WorkflowStartOptions::new(queue(core, steps::PULL_QUEUE), id)
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .search_attributes(attributes)
        .build();
    client
        .start_workflow(PatientPull, input, options)
        .await
        .context("start a pull")?;
    Ok(())
}

/// Starts the workflow of an export, as [`start_pull`] does of a pull.
async fn start_export(core: &Core, client: &Client, run: &DueRun) -> Result<()> {
    let settings = &core.settings.worker;
    let destination_id: DestinationId = run.subject_id.parse()?;
    let input = ExportInput {
        destination_id,
        chunks_per_run: u64::from(settings.chunks_per_run),
        // A destination holds at most a quarter of the slots.
        lanes: u32::try_from(settings.export_slots / 4).map_or(1, |lanes| lanes.max(1)),
        chain: None,
        resume: None,
        report: steps::ExportReport::default(),
    };
    let attributes =
        SearchAttributes::new([steps::DESTINATION.value_set(destination_id.to_string())]);
    let id = DestinationExport::id(destination_id);
    let options = WorkflowStartOptions::new(queue(core, steps::EXPORT_QUEUE), id)
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .search_attributes(attributes)
        .build();
    client
        .start_workflow(DestinationExport, input, options)
        .await
        .context("start an export")?;
    Ok(())
}

/// Steps of a pull that run side by side, where `at_once` pulls of its source do. A source
/// that bears fewer than its share of the slots has them dealt out among its pulls, and at
/// most half of them to one: a step that finds no slot comes back later, which costs the
/// server as much as one that works.
fn lanes(connection: &Connection, settings: &WorkerSettings, at_once: u64) -> u32 {
    let (share, lanes) = (settings.source_slots(), settings.streams_per_pull as u64);
    let steps = connection.steps_at_once(share);
    if steps >= share {
        return u32::try_from(lanes).unwrap_or(1);
    }
    // Rounded to the nearest: they are half as many again as its rate keeps busy.
    let dealt = (steps + at_once / 2) / at_once;
    u32::try_from(lanes.min(steps.div_ceil(2)).min(dealt).max(1)).unwrap_or(1)
}

/// Puts runs whose workflow is gone (terminated, or lost with the server's data)
/// back into the queue.
async fn put_back(core: &Core, client: &Client) -> Result<()> {
    for open in core.db.still_runs(SILENT, RUNS_MAX).await? {
        if !is_open(client, &open).await? {
            tracing::warn!(
                run.id = open.run.run_id,
                "the run's workflow is gone; the run goes back into the queue"
            );
            core.db.requeue_run(&open).await?;
        }
    }
    Ok(())
}

/// Whether the workflow that should carry out a run is open.
async fn is_open(client: &Client, open: &OpenRun) -> Result<bool> {
    let described = match open.run.kind {
        RunKind::Pull => {
            let id = PatientPull::id(open.run.subject_id.parse()?);
            client
                .get_workflow_handle::<PatientPull>(id)
                .describe(WorkflowDescribeOptions::default())
                .await
        }
        RunKind::Export => {
            let id = DestinationExport::id(open.run.subject_id.parse()?);
            client
                .get_workflow_handle::<DestinationExport>(id)
                .describe(WorkflowDescribeOptions::default())
                .await
        }
    };
    match described {
        Ok(description) => Ok(description.status() == WorkflowExecutionStatus::Running),
        Err(temporalio_client::errors::WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(error).context("describe a workflow"),
    }
}

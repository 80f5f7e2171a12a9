//! Connecting to Temporal and working on the task queues until told to stop.

use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use activities::{
    AttachmentLimits, Context as StepContext, ExportActivities, Limits, MaintainActivities,
    MaintainLimits, ProbeActivities, PullActivities,
};
use anyhow::{Context, Result};
use model::MediaTypes;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions};
use temporalio_sdk::activities::ActivityImplementer;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::runtime::{AutoscalingOptions, PollerBehavior, Runtime, RuntimeOptions};
use temporalio_sdk::{Worker, WorkerOptions};
use url::Url;

use crate::Core;
use crate::dispatch;

/// Sets up the failpoints of tests.
static FAILPOINTS: Once = Once::new();

/// How long a draining worker waits for its steps before it cancels them.
const DRAIN: Duration = Duration::from_secs(10);
/// How often a beat reaches the server at least: cancelling is heard of in its
/// answer.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// How long a pull step works before it saves and returns (an attempt may take
/// 15 minutes).
const STEP_DURATION_MAX: Duration = Duration::from_secs(10 * 60);
/// Steps of the upkeep at work at once.
const MAINTAIN_SLOTS: usize = 2;
/// Probes at work at once.
const PROBE_SLOTS: usize = 4;
/// How often the steps begun are counted.
const COUNT_STEPS: Duration = Duration::from_secs(1);
/// Workflow tasks at work at once; they are short.
const WORKFLOW_SLOTS: usize = 50;

/// Connects to a Temporal server at `address` (`host:port` or a URL).
///
/// # Errors
/// If it does not answer within 10 s.
pub async fn connect(address: &str, namespace: &str) -> Result<Client> {
    let address = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let url = Url::from_str(&address)
        .with_context(|| format!("`{address}` is not a Temporal address"))?;
    let options = ConnectionOptions::new(url)
        .identity(format!("chartlift-{}", std::process::id()))
        .connect_timeout(Duration::from_secs(10))
        .build();
    let connection = Connection::connect(options)
        .await
        .with_context(|| format!("connect to Temporal at {address}"))?;
    Client::new(connection, ClientOptions::new(namespace).build()).context("make a Temporal client")
}

/// Works on the task queues, and dispatches, until `shutdown` or until it has begun
/// very many steps, of each of which the SDK keeps a little; then drains: running
/// steps get 10 s, save or are cut off, and go on elsewhere.
///
/// The future is not `Send`: await it on the main task or a `LocalSet`.
///
/// # Errors
/// If a worker cannot start or ends by itself.
pub async fn run(core: Core, client: Client, shutdown: impl Future<Output = ()>) -> Result<()> {
    // Workers follow one another in a process; the points are its own.
    FAILPOINTS.call_once(activities::failpoint::set_up);
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let context = Arc::new(StepContext::new(
        core.db.clone(),
        core.store.clone(),
        core.guard.clone(),
        limits(&core),
    ));
    let settings = &core.settings.worker;
    let mut pulls = options(
        &core,
        steps::PULL_QUEUE,
        settings.pull_slots,
        PullActivities::new(Arc::clone(&context)),
    );
    pulls.register_workflow::<workflows::PatientPull>()?;
    let mut exports = options(
        &core,
        steps::EXPORT_QUEUE,
        settings.export_slots,
        ExportActivities::new(Arc::clone(&context)),
    );
    exports.register_workflow::<workflows::DestinationExport>()?;
    let mut maintain = options(
        &core,
        steps::MAINTAIN_QUEUE,
        MAINTAIN_SLOTS,
        MaintainActivities::new(Arc::clone(&context)),
    );
    maintain.register_workflow::<workflows::Maintain>()?;
    let mut probes = options(
        &core,
        steps::PROBE_QUEUE,
        PROBE_SLOTS,
        ProbeActivities::new(Arc::clone(&context)),
    );
    probes.register_workflow::<workflows::Probe>()?;
    let start = |options: WorkerOptions| {
        Worker::new(&runtime, client.clone(), options).context("start a worker")
    };
    let mut workers = [
        start(pulls)?,
        start(exports)?,
        start(maintain)?,
        start(probes)?,
    ];
    let stop = workers.each_ref().map(Worker::shutdown_handle);
    let steps_max = settings.recycle_after_steps;
    let dispatcher = tokio::spawn(dispatch::run(core.clone(), client));
    let work = async {
        let [pulls, exports, maintain, probes] = &mut workers;
        tokio::try_join!(pulls.run(), exports.run(), maintain.run(), probes.run()).map(drop)
    };
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        () = shutdown => None,
        () = worn_out(&context, steps_max) => {
            tracing::info!(steps = context.step_count(), "the worker drains and is replaced");
            None
        }
    };
    dispatcher.abort();
    context.drain();
    let ended = match ended {
        Some(ended) => ended,
        None => {
            stop.iter().for_each(|stop| stop());
            work.await
        }
    };
    // A copy of the database that was made while this one worked is noticed.
    if let Err(error) = activities::open_block(&core.db, &core.store).await {
        tracing::warn!("no block of settle numbers was opened at the end: {error}");
    }
    ended.context("work on the task queues")
}

/// A task queue's worker, but for its workflow: the steps that it does, and how many at
/// once.
fn options(
    core: &Core,
    name: &str,
    slots: usize,
    activities: impl ActivityImplementer,
) -> WorkerOptions {
    WorkerOptions::new(queue(core, name))
        .graceful_shutdown_period(DRAIN)
        .max_heartbeat_throttle_interval(BEAT_MAX)
        .tuner(tuner(slots))
        .workflow_task_poller_behavior(pollers())
        .activity_task_poller_behavior(pollers())
        .register_activities(activities)
        .build()
}

/// Ends once `steps_max` steps were begun.
async fn worn_out(context: &StepContext, steps_max: u64) {
    let mut tick = tokio::time::interval(COUNT_STEPS);
    while context.step_count() < steps_max {
        tick.tick().await;
    }
}

/// The name of a task queue in this deployment.
pub(crate) fn queue(core: &Core, name: &str) -> String {
    format!("{}{name}", core.settings.temporal.task_queue_prefix)
}

fn limits(core: &Core) -> Limits {
    let (settings, maintain) = (&core.settings.worker, &core.settings.maintain);
    Limits {
        page_count: settings.page_count,
        staging_size_target_bytes: settings.staging_size_target_bytes,
        chunk_rows_target: settings.chunk_rows_target,
        part_size_target_bytes: settings.part_size_target_bytes,
        step_duration_max: STEP_DURATION_MAX,
        chunk_save_every: Duration::from_millis(settings.chunk_save_ms),
        back_off: db::BackOff {
            first: Duration::from_millis(settings.back_off_first_ms),
            max: Duration::from_millis(settings.back_off_max_ms),
        },
        source_slots: settings.source_slots(),
        full_pull_after: Duration::from_millis(settings.full_pull_after_ms),
        pull_overlap: Duration::from_millis(settings.pull_overlap_ms),
        attachments: AttachmentLimits {
            bytes_max: settings.attachment_bytes_max,
            types: MediaTypes::new(&settings.attachment_types),
        },
        maintain: MaintainLimits {
            merge: db::MergeRule {
                batches_min: maintain.merge_batches,
                log_percent_max: maintain.merge_log_percent,
            },
            superseded_age: maintain.superseded_age(),
            orphan_age: maintain.orphan_age(),
            retention: maintain.retention(),
        },
    }
}

/// Temporal keeps a task queue in four parts, and a task waits in one that nobody asks:
/// 2 s, where a queue that began with two pollers got much to do at once. So it begins
/// with many, and there are always more than parts.
fn pollers() -> PollerBehavior {
    PollerBehavior::Autoscaling(
        AutoscalingOptions::builder()
            .minimum(5)
            .maximum(10)
            .initial(10)
            .build(),
    )
}

fn tuner(steps: usize) -> TunerHolder {
    TunerHolder::builder()
        .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(WORKFLOW_SLOTS))
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(steps))
        .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .build()
}

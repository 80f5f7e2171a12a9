//! Starting the probes that somebody waits for, and ending those that nobody has
//! carried out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use model::{ProbeId, Timestamp};
use steps::{Probe, ProbeInput};
use temporalio_client::{Client, WorkflowIdConflictPolicy, WorkflowStartOptions};

use crate::Core;
use crate::run::queue;

/// Probes looked at in a pass.
const PROBES_MAX: u32 = 100;
/// How long a probe's workflow is left alone before its start is repeated.
const START_AGAIN: Duration = Duration::from_secs(10);
/// A probe that has not ended by then does not.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Starts the workflows of open probes. One whose workflow is gone is given another;
/// one that is at work is left alone.
pub(super) async fn start_due(
    core: &Core,
    client: &Client,
    started: &mut HashMap<ProbeId, Instant>,
) -> Result<()> {
    started.retain(|_, at| at.elapsed() < START_AGAIN);
    let (open, oldest) = (
        core.db.open_probes(PROBES_MAX).await?,
        Timestamp::now().before(AGE_MAX),
    );
    // They come the oldest first; a pass that ends none writes nothing.
    if open.first().is_some_and(|probe| probe.created_at < oldest) {
        core.db.give_up_probes(oldest).await?;
    }
    for probe in open.iter().filter(|probe| probe.created_at >= oldest) {
        if let Entry::Vacant(vacant) = started.entry(probe.id) {
            let options =
                WorkflowStartOptions::new(queue(core, steps::PROBE_QUEUE), Probe::id(probe.id))
                    .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
                    .build();
            let input = ProbeInput { probe_id: probe.id };
            client
                .start_workflow(Probe, input, options)
                .await
                .context("start a probe")?;
            vacant.insert(Instant::now());
        }
    }
    Ok(())
}

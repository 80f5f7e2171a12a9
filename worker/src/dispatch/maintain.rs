//! Starting the upkeep: one pass an interval, whoever dispatches.

use anyhow::{Context, Result};
use steps::{Maintain, MaintainInput};
use temporalio_client::{Client, WorkflowIdConflictPolicy, WorkflowStartOptions};

use crate::Core;
use crate::run::queue;

/// Starts a pass if none was started for an interval. A pass that is still at work
/// goes on instead.
pub(super) async fn start_due(core: &Core, client: &Client) -> Result<()> {
    // A lease under a name of its own each time is a clock that all workers share.
    let holder = model::EventId::new().to_string();
    let interval = core.settings.maintain.interval();
    if !core.db.lease("maintain", &holder, interval).await? {
        return Ok(());
    }
    let options = WorkflowStartOptions::new(queue(core, steps::MAINTAIN_QUEUE), Maintain::ID)
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .build();
    client
        .start_workflow(Maintain, MaintainInput::default(), options)
        .await
        .context("start the upkeep")?;
    Ok(())
}

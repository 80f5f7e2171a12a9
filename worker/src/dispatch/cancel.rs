//! Telling workflows that their run was asked to end, until it has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use db::{OpenRun, RunKind};
use steps::{DestinationExport, PatientPull};
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{Client, WorkflowCancelOptions};

use super::{RUNS_MAX, is_open};
use crate::Core;

/// How long a workflow is left alone before it is told again.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// Tells the workflows of all runs that were asked to end. A run whose workflow is
/// gone is ended here.
pub(super) async fn tell(
    core: &Core,
    client: &Client,
    told: &mut HashMap<String, Instant>,
) -> Result<()> {
    told.retain(|_, at| at.elapsed() < TELL_AGAIN);
    for open in core.db.cancels_due(RUNS_MAX).await? {
        if told.contains_key(&open.run.run_id) {
            continue;
        }
        if is_open(client, &open).await? {
            cancel(client, &open).await?;
        } else {
            core.db.end_cancelled(&open).await?;
        }
        told.insert(open.run.run_id, Instant::now());
    }
    Ok(())
}

async fn cancel(client: &Client, open: &OpenRun) -> Result<()> {
    let options = WorkflowCancelOptions::builder()
        .reason(steps::cancel_reason(&open.run.run_id))
        .build();
    let told = match open.run.kind {
        RunKind::Pull => {
            let id = PatientPull::id(open.run.subject_id.parse()?);
            client
                .get_workflow_handle::<PatientPull>(id)
                .cancel(options)
                .await
        }
        RunKind::Export => {
            let id = DestinationExport::id(open.run.subject_id.parse()?);
            client
                .get_workflow_handle::<DestinationExport>(id)
                .cancel(options)
                .await
        }
    };
    match told {
        // It has just ended by itself; the next look will see.
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => Err(error).context("cancel a workflow"),
    }
}

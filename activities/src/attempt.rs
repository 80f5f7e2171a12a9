//! Running one attempt of a step: beating, so that a dead worker is noticed, and
//! stopping when the workflow is cancelled. Its start and its end are logged: a
//! start without an end is what a kill cut off.

use std::future::Future;
use std::time::Duration;

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::{Context, failpoint};

/// Well inside the heartbeat timeout of 30 s; the SDK throttles further.
const BEAT: Duration = Duration::from_secs(5);

/// Runs `work` on its own task and beats beside it. Cancelled, the task is ended
/// before the activity answers: nothing is saved afterwards.
pub(crate) async fn attempt<T: Send + 'static>(
    context: &Context,
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, ActivityError> {
    context.count_step();
    let info = ctx.info();
    let (step, attempt) = (info.activity_type.as_str(), info.attempt);
    let workflow = info.workflow_id.as_deref().unwrap_or_default();
    let activity = info.activity_id.as_str();
    tracing::info!(step, activity, attempt, workflow, "step started");
    let beginning = format!("{step}.begin");
    let done = beat_beside(ctx, async move {
        failpoint::pass(&beginning).await?;
        work.await
    })
    .await;
    let outcome = match &done {
        Ok(_) => "done",
        Err(ActivityError::Cancelled { .. }) => "cancelled",
        Err(_) => "failed",
    };
    tracing::info!(step, activity, attempt, workflow, outcome, "step ended");
    done
}

async fn beat_beside<T: Send + 'static>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, ActivityError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            Some(done) = tasks.join_next() => return match done {
                Ok(result) => result.map_err(|failure| log(ctx, failure).into()),
                Err(_) => Err(log(ctx, Failure::retry("panic", "the step panicked: this is a bug")).into()),
            },
            () = ctx.cancelled() => {
                tasks.shutdown().await;
                return Err(ActivityError::cancelled());
            }
            _ = beat.tick() => {
                // A beat without details cannot fail to convert.
                let _ = ctx.record_heartbeat(()).await;
            }
        }
    }
}

/// Logs a failure once, at the boundary.
fn log(ctx: &ActivityContext, failure: Failure) -> Failure {
    let (step, attempt) = (&ctx.info().activity_type, ctx.info().attempt);
    let workflow = ctx.info().workflow_id.as_deref().unwrap_or_default();
    match &failure {
        Failure::Lost => tracing::info!(step, attempt, workflow, "step was cut off"),
        Failure::Retry { code, what, .. } => tracing::warn!(
            step,
            attempt,
            workflow,
            code,
            "step will be tried again: {what}"
        ),
        Failure::Final { code, what } => {
            tracing::error!(step, attempt, workflow, code, "step failed: {what}")
        }
    }
    failure
}

//! The options of every activity, in one place.

use std::time::Duration;

use temporalio_workflow::common::error::{ApplicationFailure, IncomingError};
use temporalio_workflow::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions,
    RetryPolicy, WorkflowCancellationToken, WorkflowTermination,
};

/// How long one attempt of a step may take. Pull steps return after 10 minutes;
/// a chunk with one very large connection takes as long as it takes.
const ATTEMPT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// A step that does not beat for so long is lost with its worker. This decides
/// what a restart costs.
const HEARTBEAT_MAX: Duration = Duration::from_secs(30);

/// Attempts of a step of the upkeep.
const UPKEEP_ATTEMPTS_MAX: u32 = 5;

/// A step: heartbeats, no limit of attempts (restarts count as attempts; the
/// budget is attempts without progress, kept in the step's row).
pub(crate) fn step(summary: impl Into<String>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::StartToClose(ATTEMPT_MAX))
        .heartbeat_timeout(HEARTBEAT_MAX)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .retry_policy(retry())
        .summary(summary.into())
        .build()
}

/// A step of the upkeep: the next pass makes up for one that gives up.
pub(crate) fn upkeep(summary: impl Into<String>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::StartToClose(ATTEMPT_MAX))
        .heartbeat_timeout(HEARTBEAT_MAX)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(Duration::from_secs(1))
                .backoff_coefficient(2.0)
                .maximum_interval(Duration::from_secs(60))
                .maximum_attempts(UPKEEP_ATTEMPTS_MAX)
                .build(),
        )
        .summary(summary.into())
        .build()
}

/// A clean-up that runs although the workflow is cancelled.
pub(crate) fn detached(summary: impl Into<String>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::StartToClose(Duration::from_secs(
        30,
    )))
    .cancellation_token(WorkflowCancellationToken::new())
    .retry_policy(retry())
    .summary(summary.into())
    .build()
}

fn retry() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(60))
        .build()
}

/// How a step ended that did not give a receipt.
pub(crate) enum StepEnd {
    /// The workflow was cancelled.
    Cancelled,
    /// Another attempt holds the step, or the run has ended: no verdict.
    Lost,
    /// It failed for good, with this code.
    Failed(String),
}

impl StepEnd {
    /// What a step's end means to the run `run_id`: in a cancelled workflow, the
    /// request to cancel, whatever the step made of it; a worker that is frozen
    /// makes nothing of it. A request that names another run, which has ended in
    /// that moment, takes only the workflow away: Dispatch gives the run another.
    pub(crate) fn in_workflow(
        self,
        token: &WorkflowCancellationToken,
        run_id: impl std::fmt::Display,
    ) -> Self {
        if !token.is_cancelled() {
            return self;
        }
        match token.reason().as_deref().and_then(steps::run_to_end) {
            Some(other) if other != run_id.to_string() => Self::Lost,
            _ => Self::Cancelled,
        }
    }
}

impl From<ActivityExecutionError> for StepEnd {
    fn from(error: ActivityExecutionError) -> Self {
        match &error {
            ActivityExecutionError::Cancelled(_) => Self::Cancelled,
            ActivityExecutionError::Failed(failed) => match failed.cause() {
                Some(IncomingError::Application(failure)) => match failure.type_name() {
                    Some(steps::LOST) => Self::Lost,
                    Some(code) => Self::Failed(code.to_owned()),
                    None => Self::Failed("internal".to_owned()),
                },
                Some(IncomingError::Timeout(_)) => Self::Failed("timeout".to_owned()),
                _ => Self::Failed("internal".to_owned()),
            },
            _ => Self::Failed("internal".to_owned()),
        }
    }
}

/// What a workflow ends with when it cannot go on: its run, if it had one, is
/// closed already, and Dispatch starts another workflow when one is due.
pub(crate) fn failed(end: StepEnd) -> WorkflowTermination {
    let code = match end {
        StepEnd::Cancelled => return WorkflowTermination::cancelled(),
        StepEnd::Lost => steps::LOST.to_owned(),
        StepEnd::Failed(code) => code,
    };
    let failure = ApplicationFailure::builder(format!("the workflow cannot go on: {code}"))
        .type_name(code)
        .non_retryable(true)
        .build();
    WorkflowTermination::failed_application(failure)
}

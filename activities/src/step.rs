//! How a step begins and ends: its row is claimed, unless the step is done; what fails is
//! judged by how often it was tried without progress.

use std::future::Future;

use db::{RunKind, StepClaim, StepRef};
use model::{ExportId, PullId};
use serde::de::DeserializeOwned;

use crate::Context;
use crate::failure::Failure;

/// A step that this attempt may work at.
pub(crate) struct Claimed {
    pub(crate) step: StepRef,
    /// The fence of this attempt.
    pub(crate) token: String,
    /// What an earlier attempt saved.
    pub(crate) progress: Option<Vec<u8>>,
}

/// A step of a pull.
pub(crate) fn of_pull(pull: PullId, name: &str) -> StepRef {
    StepRef {
        kind: RunKind::Pull,
        run_id: pull.to_string(),
        name: name.to_owned(),
    }
}

/// A step of an export.
pub(crate) fn of_export(export: ExportId, name: String) -> StepRef {
    StepRef {
        kind: RunKind::Export,
        run_id: export.to_string(),
        name,
    }
}

/// Does `work` as a step; one that an earlier attempt finished is not done again.
pub(crate) async fn once<R, F>(
    context: &Context,
    step: StepRef,
    work: impl FnOnce(Claimed) -> F,
) -> Result<R, Failure>
where
    R: DeserializeOwned,
    F: Future<Output = Result<R, Failure>>,
{
    let (token, idle_attempts, progress) = match context.db.claim_step(&step).await? {
        StepClaim::Done(receipt) => return Ok(receipt),
        StepClaim::Mine {
            token,
            idle_attempts,
            progress,
        } => (token, idle_attempts, progress),
    };
    let claimed = Claimed {
        step,
        token,
        progress,
    };
    work(claimed)
        .await
        .map_err(|failure| failure.within(idle_attempts))
}

//! `Probe`: a test or a rehearsal of a destination, which somebody waits for. What it
//! finds stands in its row; if it finds nothing in time, Dispatch ends it.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use steps::{ProbeInput, ProbeReceipt, ProbeSteps};
use temporalio_workflow::{WorkflowContext, WorkflowResult, workflow, workflow_methods};

use crate::options::{StepEnd, failed, step};

/// Tries a destination out.
#[workflow]
#[derive(Default)]
pub struct Probe;

pub(crate) use probe::Run;

#[workflow_methods]
impl Probe {
    /// One step.
    #[run(name = steps::Probe::NAME)]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: ProbeInput,
    ) -> WorkflowResult<ProbeReceipt> {
        let ctx = &*ctx;
        let done = ctx.execute_activity(ProbeSteps::run, input, step("try the destination out"));
        match done.await {
            Ok(receipt) => {
                let why = receipt.error_code.as_deref().unwrap_or("nothing amiss");
                ctx.set_current_details(format!("{}: {why}", receipt.outcome));
                Ok(receipt)
            }
            Err(error) => Err(failed(StepEnd::from(error))),
        }
    }
}

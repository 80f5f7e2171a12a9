//! `PatientPull`: fetch a connection and settle what changed. The workflow id is
//! the lock of the connection; queued pulls are carried out one after another.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::time::Duration;

use model::{PullId, PullKind, RunState};
use steps::{
    ATTACHMENTS_STEP, BeginPull, ClosePull, PlanPull, PullInput, PullPlan, PullReport, PullResume,
    PullSteps, StepTitle,
};
use temporalio_workflow::{
    ContinueAsNewOptions, WorkflowContext, WorkflowResult, WorkflowTermination, workflow,
    workflow_methods,
};

use crate::options::{StepEnd, detached, failed, step};
use crate::patient_pull_stages::{Carried, REFERENCES, carry_out};

/// Waits for a slot of the source after which planning goes on in a new run, to
/// keep the history short.
const PLAN_WAITS_MAX: u32 = 500;

/// Fetches a connection.
#[workflow]
#[derive(Default)]
pub struct PatientPull;

pub(crate) use patient_pull::Run;

#[workflow_methods]
impl PatientPull {
    /// Carries out queued pulls until there is none.
    #[run(name = steps::PatientPull::NAME)]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        mut input: PullInput,
    ) -> WorkflowResult<PullReport> {
        let ctx = &*ctx;
        let chain = input
            .chain
            .clone()
            .unwrap_or_else(|| ctx.run_id().to_owned());
        input.chain = Some(chain.clone());
        loop {
            let resume = match input.resume.take() {
                Some(resume) => resume,
                None => match begin(ctx, &input, chain.clone()).await {
                    Ok(Begun::Planned(resume)) => resume,
                    Ok(Begun::Nothing) => return Ok(input.report),
                    Ok(Begun::BudgetSpent) => {
                        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                        unreachable!("continuing as new always ends the run");
                    }
                    Err(end) => return Err(failed(end)),
                },
            };
            let pull_id = resume.pull_id;
            let carried = carry_out(ctx, &input, resume).await;
            match carried.map_err(|end| end.in_workflow(&ctx.cancellation_token(), pull_id)) {
                Ok(Carried::Settled(receipt)) => {
                    ctx.upsert_search_attributes([
                        steps::OUTCOME.value_set(receipt.state.to_string())
                    ]);
                    input.report.pulls += 1;
                    input.report.outcome = Some(receipt.state);
                    input.report.counts = receipt.counts;
                }
                Ok(Carried::BudgetSpent(resume)) => {
                    input.resume = Some(resume);
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                    unreachable!("continuing as new always ends the run");
                }
                Err(StepEnd::Lost) => {}
                Err(StepEnd::Failed(code)) => {
                    close(ctx, pull_id, RunState::Failed, code).await?;
                    input.report.outcome = Some(RunState::Failed);
                }
                Err(StepEnd::Cancelled) => {
                    close(ctx, pull_id, RunState::Cancelled, "cancelled".to_owned()).await?;
                    return Err(failed(StepEnd::Cancelled));
                }
            }
        }
    }
}

/// What a workflow begins with.
enum Begun {
    /// A pull.
    Planned(PullResume),
    /// No pull is queued, or the one that was has ended.
    Nothing,
    /// The source had no slot for so long that a new run goes on waiting.
    BudgetSpent,
}

/// Takes the queued pull, if there is one, and plans its streams.
async fn begin(
    ctx: &WorkflowContext<PatientPull>,
    input: &PullInput,
    chain: String,
) -> Result<Begun, StepEnd> {
    let connection_id = input.connection_id;
    let begun = ctx
        .execute_activity(
            PullSteps::begin,
            BeginPull {
                connection_id,
                chain,
            },
            step("take the queued pull"),
        )
        .await?;
    let Some(pull_id) = begun.pull_id else {
        return Ok(Begun::Nothing);
    };
    ctx.upsert_search_attributes([steps::RUN.value_set(pull_id.to_string())]);
    if begun.kind == PullKind::AcceptDeletes {
        // Nothing is fetched: what was held is settled.
        return Ok(Begun::Planned(PullResume {
            pull_id,
            pending: Vec::new(),
            table: Vec::new(),
        }));
    }
    match plan(ctx, input, pull_id)
        .await
        .map_err(|end| end.in_workflow(&ctx.cancellation_token(), pull_id))
    {
        Ok(Some(plan)) => {
            let references = StepTitle {
                name: REFERENCES.to_owned(),
                title: "what the resources refer to, and what has gone".to_owned(),
            };
            let attachments = plan.attachments.then(|| StepTitle {
                name: ATTACHMENTS_STEP.to_owned(),
                title: "documents that the resources name by a URL".to_owned(),
            });
            let after = [references].into_iter().chain(attachments);
            let pending = plan.steps.into_iter().chain(after).collect();
            Ok(Begun::Planned(PullResume {
                pull_id,
                pending,
                table: Vec::new(),
            }))
        }
        Ok(None) => Ok(Begun::BudgetSpent),
        Err(StepEnd::Failed(code)) => {
            close(ctx, pull_id, RunState::Failed, code.clone())
                .await
                .map_err(|_| StepEnd::Failed(code))?;
            Ok(Begun::Nothing)
        }
        Err(StepEnd::Cancelled) => {
            let _ = close(ctx, pull_id, RunState::Cancelled, "cancelled".to_owned()).await;
            Err(StepEnd::Cancelled)
        }
        Err(StepEnd::Lost) => Err(StepEnd::Lost),
    }
}

/// Plans the streams; none where the source had no slot for very long.
async fn plan(
    ctx: &WorkflowContext<PatientPull>,
    input: &PullInput,
    pull_id: PullId,
) -> Result<Option<PullPlan>, StepEnd> {
    for _ in 0..PLAN_WAITS_MAX {
        let call = PlanPull {
            pull_id,
            connection_id: input.connection_id,
            step_count: input.lanes,
        };
        let options = step("read the source's capabilities, plan the streams");
        let plan = ctx.execute_activity(PullSteps::plan, call, options).await?;
        if plan.wait_ms == 0 {
            return Ok(Some(plan));
        }
        // Waiting holds no slot of the queue.
        ctx.timer(Duration::from_millis(plan.wait_ms)).await;
    }
    Ok(None)
}

/// Ends a pull that will not settle, although the workflow may be cancelled.
async fn close(
    ctx: &WorkflowContext<PatientPull>,
    pull_id: PullId,
    state: RunState,
    code: String,
) -> Result<(), WorkflowTermination> {
    ctx.upsert_search_attributes([steps::OUTCOME.value_set(state.to_string())]);
    ctx.execute_activity(
        PullSteps::close,
        ClosePull {
            pull_id,
            state,
            code,
        },
        detached(format!("end as {state}")),
    )
    .await?;
    Ok(())
}

//! `PatientPull`: fetch a connection and settle what changed. The workflow id is
//! the lock of the connection; queued pulls are carried out one after another.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use model::{PullId, PullKind, RunState};
use steps::{
    ATTACHMENTS_STEP, BeginPull, ClosePull, PlanPull, PullInput, PullPlan, PullReport, PullResume,
    PullStep, PullSteps, SettlePull, SettleReceipt, StepTitle,
};
use temporalio_workflow::workflows::join_all;
use temporalio_workflow::{
    ContinueAsNewOptions, WorkflowContext, WorkflowResult, WorkflowTermination, workflow,
    workflow_methods,
};

use crate::options::{StepEnd, detached, failed, step};
use crate::table::PullTable;

/// The step that follows references; attachments and settling come after it.
const REFERENCES: &str = "references";
/// The steps that ask for many types at once, before the searches for what these do
/// not bring.
const FIRST: [&str; 2] = [steps::EVERYTHING_STEP, steps::EXPORT_STEP];
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

/// How far a pull came.
enum Carried {
    Settled(SettleReceipt),
    BudgetSpent(PullResume),
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

/// Pull steps, references, attachments, settle.
async fn carry_out(
    ctx: &WorkflowContext<PatientPull>,
    input: &PullInput,
    resume: PullResume,
) -> Result<Carried, StepEnd> {
    let pull_id = resume.pull_id;
    let table = RefCell::new(PullTable::new(resume.table));
    let budget = RefCell::new(input.pages_per_run);
    let mut left = VecDeque::new();
    for stage in stages(resume.pending) {
        if left.is_empty() {
            left = run_steps(ctx, input, pull_id, stage, &table, &budget).await?;
        } else {
            left.extend(stage);
        }
    }
    if !left.is_empty() {
        return Ok(Carried::BudgetSpent(PullResume {
            pull_id,
            pending: left.into(),
            table: table.borrow().lines(),
        }));
    }
    let settle = SettlePull {
        pull_id,
        connection_id: input.connection_id,
    };
    let receipt = ctx
        .execute_activity(
            PullSteps::settle,
            settle,
            step("compare with the record, write what changed"),
        )
        .await?;
    ctx.set_current_details(table.borrow().markdown(&format!(
        "{} · {} new, {} changed, {} unchanged, {} deleted",
        receipt.state,
        receipt.counts.new,
        receipt.counts.changed,
        receipt.counts.unchanged,
        receipt.counts.deleted
    )));
    Ok(Carried::Settled(receipt))
}

/// The steps in the order in which one waits for the other.
fn stages(pending: Vec<StepTitle>) -> [VecDeque<StepTitle>; 4] {
    let mut stages = [const { VecDeque::new() }; 4];
    for title in pending {
        let stage = match title.name.as_str() {
            name if FIRST.contains(&name) => 0,
            REFERENCES => 2,
            ATTACHMENTS_STEP => 3,
            _ => 1,
        };
        stages[stage].push_back(title);
    }
    stages
}

/// Runs steps, a few at a time, until all are done or the budget of pages is
/// spent. Returns those that are not done.
async fn run_steps(
    ctx: &WorkflowContext<PatientPull>,
    input: &PullInput,
    pull_id: PullId,
    queue: VecDeque<StepTitle>,
    table: &RefCell<PullTable>,
    budget: &RefCell<u64>,
) -> Result<VecDeque<StepTitle>, StepEnd> {
    let queue = RefCell::new(queue);
    let lanes = (0..input.lanes.max(1)).map(|_| async {
        loop {
            let pages_max = *budget.borrow();
            if pages_max == 0 {
                return Ok(());
            }
            let Some(title) = queue.borrow_mut().pop_front() else {
                return Ok(());
            };
            let call = PullStep {
                pull_id,
                connection_id: input.connection_id,
                step: title.name.clone(),
                pages_max,
            };
            let call = run_step(ctx, &title, call, table).await?;
            // A call that only waits costs history too.
            let cost = call.pages.max(u64::from(call.wait_ms > 0));
            let spent = budget.borrow().saturating_sub(cost);
            *budget.borrow_mut() = spent;
            if call.wait_ms > 0 {
                // Waiting holds no slot of the queue.
                ctx.timer(Duration::from_millis(call.wait_ms)).await;
            }
            if call.more {
                queue.borrow_mut().push_back(title);
            }
        }
    });
    let ends: Vec<Result<(), StepEnd>> = join_all(lanes).await;
    for end in ends {
        end?;
    }
    Ok(queue.into_inner())
}

/// What a call of a step came to.
struct Called {
    pages: u64,
    wait_ms: u64,
    more: bool,
}

/// Calls a step once, and shows what it brought.
async fn run_step(
    ctx: &WorkflowContext<PatientPull>,
    title: &StepTitle,
    call: PullStep,
    table: &RefCell<PullTable>,
) -> Result<Called, StepEnd> {
    let options = step(&*title.title);
    let receipt = match title.name.as_str() {
        ATTACHMENTS_STEP => {
            let receipt = ctx
                .execute_activity(PullSteps::attachments, call, options)
                .await?;
            let found = format!("fetching · {} attachments", receipt.counts.found);
            ctx.set_current_details(table.borrow().markdown(&found));
            return Ok(Called {
                pages: receipt.requests,
                wait_ms: receipt.wait_ms,
                more: receipt.more,
            });
        }
        REFERENCES => {
            ctx.execute_activity(PullSteps::references, call, options)
                .await?
        }
        _ => {
            ctx.execute_activity(PullSteps::pages, call, options)
                .await?
        }
    };
    table.borrow_mut().update(receipt.types);
    ctx.set_current_details(table.borrow().markdown("fetching"));
    Ok(Called {
        pages: receipt.pages,
        wait_ms: receipt.wait_ms,
        more: receipt.more,
    })
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

//! What a pull does once it is planned: its steps, a few at a time and in stages where
//! one waits for the other, then settle.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use model::PullId;
use steps::{
    ATTACHMENTS_STEP, PullInput, PullResume, PullStep, PullSteps, SettlePull, SettleReceipt,
    StepTitle,
};
use temporalio_workflow::WorkflowContext;
use temporalio_workflow::workflows::join_all;

use crate::options::{StepEnd, step};
use crate::patient_pull::PatientPull;
use crate::table::PullTable;

/// The step that follows references; attachments and settling come after it.
pub(crate) const REFERENCES: &str = "references";
/// The steps that ask for many types at once, before the searches for what these do
/// not bring.
const FIRST: [&str; 2] = [steps::EVERYTHING_STEP, steps::EXPORT_STEP];

/// How far a pull came.
pub(crate) enum Carried {
    Settled(SettleReceipt),
    BudgetSpent(PullResume),
}

/// Pull steps, references, attachments, settle.
pub(crate) async fn carry_out(
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

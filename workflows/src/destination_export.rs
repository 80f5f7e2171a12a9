//! `DestinationExport`: deliver what a destination lacks, as one publication or
//! a series of them. The workflow id is the lock of the destination; queued
//! exports are carried out one after another.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::cell::RefCell;

use model::{ExportId, RunState};
use steps::{
    ChunkReceipt, ClaimExport, CloseExport, DeliverChunk, ExportInput, ExportReport, ExportResume,
    ExportSteps, PlanExport, PlanReceipt, PublishExport,
};
use temporalio_workflow::workflows::join_all;
use temporalio_workflow::{
    ContinueAsNewOptions, WorkflowContext, WorkflowResult, workflow, workflow_methods,
};

use crate::options::{StepEnd, detached, failed, step};
use crate::table;

/// Delivers to a destination.
#[workflow]
#[derive(Default)]
pub struct DestinationExport;

pub(crate) use destination_export::Run;

type Context = WorkflowContext<DestinationExport>;

#[workflow_methods]
impl DestinationExport {
    /// Carries out queued exports until there is none.
    #[run(name = steps::DestinationExport::NAME)]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        mut input: ExportInput,
    ) -> WorkflowResult<ExportReport> {
        let ctx = &*ctx;
        let chain = input
            .chain
            .clone()
            .unwrap_or_else(|| ctx.run_id().to_owned());
        input.chain = Some(chain.clone());
        loop {
            let resume = match input.resume.take() {
                Some(resume) => resume,
                None => match claim(ctx, &input, chain.clone()).await {
                    Ok(Some(resume)) => resume,
                    Ok(None) => return Ok(input.report),
                    Err(end) => return Err(failed(end)),
                },
            };
            let export_id = resume.export_id;
            let carried = carry_out(ctx, &mut input, resume).await;
            let (state, code) = match carried
                .map_err(|end| end.in_workflow(&ctx.cancellation_token(), export_id))
            {
                Ok(Carried::Ended(state, code)) => (state, code),
                Ok(Carried::BudgetSpent(resume)) => {
                    input.resume = Some(resume);
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                    unreachable!("continuing as new always ends the run");
                }
                Err(StepEnd::Lost) => continue,
                Err(StepEnd::Failed(code)) => (RunState::Failed, Some(code)),
                Err(StepEnd::Cancelled) => (RunState::Cancelled, Some("cancelled".to_owned())),
            };
            ctx.upsert_search_attributes([steps::OUTCOME.value_set(state.to_string())]);
            let end = CloseExport {
                export_id,
                state,
                code,
            };
            ctx.execute_activity(ExportSteps::close, end, detached(format!("end as {state}")))
                .await?;
            input.report.exports += 1;
            input.report.outcome = Some(state);
            if state == RunState::Cancelled {
                return Err(failed(StepEnd::Cancelled));
            }
        }
    }
}

/// How far an export came.
enum Carried {
    Ended(RunState, Option<String>),
    BudgetSpent(ExportResume),
}

/// Takes the queued export, if there is one.
async fn claim(
    ctx: &Context,
    input: &ExportInput,
    chain: String,
) -> Result<Option<ExportResume>, StepEnd> {
    let call = ClaimExport {
        destination_id: input.destination_id,
        chain,
    };
    let claimed = ctx
        .execute_activity(ExportSteps::claim, call, step("take the queued export"))
        .await?;
    let Some(export_id) = claimed.export_id else {
        return Ok(None);
    };
    ctx.upsert_search_attributes([steps::RUN.value_set(export_id.to_string())]);
    Ok(Some(ExportResume {
        export_id,
        ordinal: 0,
        plan: None,
        next_chunk: 0,
        delivered: 0,
        failed: false,
    }))
}

/// Plans, chunks and publications until nothing is lacking.
async fn carry_out(
    ctx: &Context,
    input: &mut ExportInput,
    mut at: ExportResume,
) -> Result<Carried, StepEnd> {
    let (export_id, destination_id) = (at.export_id, input.destination_id);
    let mut budget = input.chunks_per_run.max(1);
    loop {
        let plan = match at.plan.take() {
            Some(plan) => plan,
            None => {
                let call = PlanExport {
                    export_id,
                    destination_id,
                    ordinal: at.ordinal,
                };
                let plan = ctx
                    .execute_activity(ExportSteps::plan, call, step("fix what is to be delivered"))
                    .await?;
                at.next_chunk = plan.first_chunk;
                at.delivered = 0;
                plan
            }
        };
        if plan.chunk_count == 0 {
            return Ok(Carried::Ended(RunState::Completed, None));
        }
        let end = plan.first_chunk + plan.chunk_count;
        let until = end.min(at.next_chunk.saturating_add(budget));
        let (delivered, error) =
            run_chunks(ctx, input, export_id, &plan, at.next_chunk..until).await?;
        at.failed |= error.is_some();
        at.delivered += delivered;
        budget = budget.saturating_sub(until - at.next_chunk);
        at.next_chunk = until;
        if at.next_chunk < end {
            at.plan = Some(plan);
            return Ok(Carried::BudgetSpent(at));
        }
        if at.delivered == 0 {
            return Ok(Carried::Ended(
                RunState::Failed,
                error.or_else(chunk_failed),
            ));
        }
        let call = PublishExport {
            export_id,
            destination_id,
            plan_id: plan.plan_id.clone(),
            ordinal: at.ordinal,
        };
        let summary = format!(
            "publish number {}, then advance the watermarks",
            plan.number
        );
        let published = ctx
            .execute_activity(ExportSteps::publish, call, step(summary))
            .await?;
        if published.ours {
            input.report.publications += 1;
            input.report.counts += published.counts;
        }
        // Another's publication was adopted: all of this plan is planned anew.
        at.failed &= published.ours;
        if at.failed {
            return Ok(Carried::Ended(
                RunState::Partial,
                error.or_else(chunk_failed),
            ));
        }
        if published.ours && !plan.more {
            return Ok(Carried::Ended(RunState::Completed, None));
        }
        at.ordinal += 1;
        if budget == 0 {
            return Ok(Carried::BudgetSpent(at));
        }
    }
}

/// The code of a run one of whose chunks failed before it continued as new.
fn chunk_failed() -> Option<String> {
    Some("chunk_failed".to_owned())
}

/// Writes chunks, a few at a time. A chunk that fails for good costs only its
/// own connections: its code is returned beside how many were delivered.
async fn run_chunks(
    ctx: &Context,
    input: &ExportInput,
    export_id: ExportId,
    plan: &PlanReceipt,
    chunks: std::ops::Range<u64>,
) -> Result<(u64, Option<String>), StepEnd> {
    let queue = RefCell::new(chunks);
    let done = RefCell::new(Vec::<ChunkReceipt>::new());
    let error = RefCell::new(None);
    let lanes = (0..input.lanes.max(1)).map(|_| async {
        loop {
            let Some(chunk) = queue.borrow_mut().next() else {
                return Ok(());
            };
            let call = DeliverChunk {
                export_id,
                destination_id: input.destination_id,
                plan_id: plan.plan_id.clone(),
                chunk,
            };
            match ctx
                .execute_activity(
                    ExportSteps::chunk,
                    call,
                    step(format!("write chunk {chunk}")),
                )
                .await
            {
                Ok(receipt) => done.borrow_mut().push(receipt),
                Err(failure) => match StepEnd::from(failure) {
                    StepEnd::Failed(code) => *error.borrow_mut() = Some(code),
                    end => return Err(end),
                },
            }
            ctx.set_current_details(table::export("writing", plan, &done.borrow()));
        }
    });
    let ends: Vec<Result<(), StepEnd>> = join_all(lanes).await;
    for end in ends {
        end?;
    }
    Ok((done.borrow().len() as u64, error.into_inner()))
}

//! `Maintain`: one pass of upkeep. Each step does a bounded piece of work and says
//! where to go on; one that gives up leaves the others theirs, and the next pass
//! tries again.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use steps::{
    ForgetDetails, LookThroughDestinations, LookThroughRecords, MaintainInput, MaintainReport,
    MaintainSteps, MergeLogs, SweepReceipt,
};
use temporalio_workflow::{WorkflowContext, WorkflowResult, workflow, workflow_methods};

use crate::options::{StepEnd, failed, upkeep};
use crate::table;

/// Calls of one kind in a pass: some 40 hours of work, well below what a history
/// holds. What is left then is left to the next pass.
const CALLS_MAX: u32 = 500;

/// Keeps everything in shape.
#[workflow]
#[derive(Default)]
pub struct Maintain;

pub(crate) use maintain::Run;

type Context = WorkflowContext<Maintain>;

#[workflow_methods]
impl Maintain {
    /// Merges, sweeps and forgets, once.
    #[run(name = steps::Maintain::NAME)]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        _: MaintainInput,
    ) -> WorkflowResult<MaintainReport> {
        let ctx = &*ctx;
        let mut report = MaintainReport::default();
        let ends = [
            merge(ctx, &mut report).await,
            sweep_records(ctx, &mut report).await,
            sweep_destinations(ctx, &mut report).await,
            retention(ctx, &mut report).await,
        ];
        for end in ends {
            match end {
                Ok(()) => {}
                Err(StepEnd::Cancelled) => return Err(failed(StepEnd::Cancelled)),
                Err(StepEnd::Lost) => report.failures.push(steps::LOST.to_owned()),
                Err(StepEnd::Failed(code)) => report.failures.push(code),
            }
        }
        ctx.set_current_details(table::maintain("done", &report));
        Ok(report)
    }
}

async fn merge(ctx: &Context, report: &mut MaintainReport) -> Result<(), StepEnd> {
    let mut call = MergeLogs::default();
    for _ in 0..CALLS_MAX {
        let done = ctx
            .execute_activity(MaintainSteps::merge, call, upkeep("merge long logs"))
            .await?;
        let sum = &mut report.merged;
        sum.logs += done.logs;
        sum.batches += done.batches;
        sum.bytes_before += done.bytes_before;
        sum.bytes_after += done.bytes_after;
        sum.failed += done.failed;
        ctx.set_current_details(table::maintain("merging", report));
        if done.next.is_none() {
            break;
        }
        call = MergeLogs { after: done.next };
    }
    Ok(())
}

async fn sweep_records(ctx: &Context, report: &mut MaintainReport) -> Result<(), StepEnd> {
    let mut call = LookThroughRecords::default();
    for _ in 0..CALLS_MAX {
        let summary = upkeep("remove what nobody names from the record store");
        let done = ctx
            .execute_activity(MaintainSteps::sweep_records, call, summary)
            .await?;
        add(&mut report.records, &done);
        ctx.set_current_details(table::maintain("sweeping the record store", report));
        if done.next_connection.is_none() {
            break;
        }
        call = LookThroughRecords {
            after: done.next_connection,
        };
    }
    Ok(())
}

async fn sweep_destinations(ctx: &Context, report: &mut MaintainReport) -> Result<(), StepEnd> {
    let mut call = LookThroughDestinations::default();
    for _ in 0..CALLS_MAX {
        let summary = upkeep("remove left-over files from a destination");
        let done = ctx
            .execute_activity(MaintainSteps::sweep_destinations, call, summary)
            .await?;
        add(&mut report.destinations, &done);
        ctx.set_current_details(table::maintain("sweeping destinations", report));
        if done.next_destination.is_none() {
            break;
        }
        call = LookThroughDestinations {
            after: done.next_destination,
        };
    }
    Ok(())
}

async fn retention(ctx: &Context, report: &mut MaintainReport) -> Result<(), StepEnd> {
    for _ in 0..CALLS_MAX {
        let summary = upkeep("forget the details of old runs");
        let done = ctx
            .execute_activity(MaintainSteps::retention, ForgetDetails::default(), summary)
            .await?;
        report.forgotten_rows += done.rows;
        ctx.set_current_details(table::maintain("forgetting", report));
        if !done.more {
            break;
        }
    }
    Ok(())
}

fn add(sum: &mut SweepReceipt, done: &SweepReceipt) {
    sum.looked_through += done.looked_through;
    sum.removed += done.removed;
    sum.removed_bytes += done.removed_bytes;
    sum.unknown += done.unknown;
    sum.failed += done.failed;
}

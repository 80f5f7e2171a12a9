//! `export.close`: end an export. One that was publishing first decides its
//! number: what it published counts; otherwise the number is burnt, so that no
//! attempt that wakes later can make it visible.

use std::time::Duration;

use db::UndecidedPlan;
use destination::Published;
use model::{ExportCounts, PUBLICATION_VERSION, Publication, RunState, Timestamp};
use steps::CloseExport;

use crate::Context;
use crate::export::destination_row;
use crate::export_adopt::{adopt, open};
use crate::failure::Failure;

/// How long the destination may take to say what stands under the number; the
/// activity has 30 s.
const DECIDE_MAX: Duration = Duration::from_secs(15);

pub(crate) async fn run(context: &Context, input: &CloseExport) -> Result<(), Failure> {
    let (state, code) = ending(context, input).await?;
    let back_off = context.limits.back_off;
    Ok(context
        .db
        .end_export(input.export_id, state, code.as_deref(), back_off)
        .await?)
}

/// How an export ends that its workflow wants to end: as told, unless it turns out
/// that it has published, or that nobody can say.
async fn ending(
    context: &Context,
    input: &CloseExport,
) -> Result<(RunState, Option<String>), Failure> {
    let as_told = (input.state, input.code.clone());
    if matches!(input.state, RunState::Completed | RunState::Partial) {
        // The workflow has the receipt of what was published.
        return Ok(as_told);
    }
    let Some(plan) = context.db.plan_at_commit(input.export_id).await? else {
        return Ok(as_told);
    };
    let decided = match context.db.decided_plan(&plan).await? {
        Some(is_own) => Some(is_own),
        None => match tokio::time::timeout(DECIDE_MAX, decide(context, &plan)).await {
            Ok(Ok(is_own)) => Some(is_own),
            Ok(Err(failure)) => {
                tracing::warn!(export.id = %input.export_id, "whether it was published is not known: {failure}");
                None
            }
            Err(_) => None,
        },
    };
    Ok(match decided {
        Some(true) => match context.db.published_state(&plan).await? {
            RunState::Partial => (RunState::Partial, Some("chunk_failed".to_owned())),
            state => (state, None),
        },
        Some(false) => as_told,
        None => (RunState::Failed, Some("publish_undecided".to_owned())),
    })
}

/// Finds out what stands under a plan's number, or burns it. What stands is taken
/// over; true if it is the plan's own publication.
pub(crate) async fn decide(context: &Context, plan: &UndecidedPlan) -> Result<bool, Failure> {
    let row = destination_row(context, plan.destination_id).await?;
    let files = open(context, &row).await?;
    let burnt = Publication {
        version: PUBLICATION_VERSION,
        destination_id: plan.destination_id,
        number: plan.number,
        export_id: plan.export_id,
        plan_id: plan.plan_id.clone(),
        epoch: plan.epoch,
        burnt: true,
        format: row.format,
        published_at: Timestamp::now().to_string(),
        parts: Vec::new(),
        spans: Vec::new(),
        counts: ExportCounts::default(),
    };
    let stands = match files.publish(&burnt).await? {
        Published::Created => burnt,
        Published::Stands(stands) => *stands,
    };
    adopt(context, &files, &stands).await?;
    Ok(!stands.burnt && stands.export_id == plan.export_id && stands.plan_id == plan.plan_id)
}

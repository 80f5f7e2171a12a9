//! `export.publish`: make a plan's parts visible under its number, create-only,
//! then advance the watermarks. What stands in the slot counts from there on.

use db::{PublicationCommit, RunKind, StepClaim, StepRef};
use destination::Published;
use model::{PUBLICATION_VERSION, Publication, Timestamp};
use steps::{PublishExport, PublishReceipt};

use crate::export::destination_row;
use crate::export_adopt::{adopt, open};
use crate::failure::Failure;
use crate::{Context, failpoint};

pub(crate) async fn run(
    context: &Context,
    input: &PublishExport,
) -> Result<PublishReceipt, Failure> {
    let name = format!("publish-{}", input.ordinal);
    let step = StepRef {
        kind: RunKind::Export,
        run_id: input.export_id.to_string(),
        name,
    };
    let (token, idle_attempts) = match context.db.claim_step(&step).await? {
        StepClaim::Done(receipt) => return Ok(receipt),
        StepClaim::Mine {
            token,
            idle_attempts,
            ..
        } => (token, idle_attempts),
    };
    publish(context, input, &step, &token)
        .await
        .map_err(|failure| failure.within(idle_attempts))
}

async fn publish(
    context: &Context,
    input: &PublishExport,
    step: &StepRef,
    token: &str,
) -> Result<PublishReceipt, Failure> {
    context
        .db
        .begin_publish(input.export_id, &input.plan_id)
        .await?;
    let row = destination_row(context, input.destination_id).await?;
    let files = open(context, &row).await?;
    let wanted = publication(context, input, &row).await?;
    failpoint::pass("publication.before").await?;
    let stands = match files.publish(&wanted).await? {
        Published::Created => wanted.clone(),
        Published::Stands(stands) => *stands,
    };
    failpoint::pass("publication.after").await?;
    let ours = stands.export_id == wanted.export_id && stands.plan_id == wanted.plan_id;
    if ours && stands.burnt {
        // The run was ended meanwhile, and its number with it.
        return Err(Failure::Lost);
    }
    let receipt = PublishReceipt {
        number: stands.number,
        ours,
        counts: stands.counts,
    };
    if ours {
        files.write_manifest(&stands).await?;
    } else {
        adopt(context, &files, &stands).await?;
    }
    failpoint::pass("watermark_commit.before").await?;
    let commit = PublicationCommit {
        publication: &stands,
        step: Some((step, token, &receipt)),
    };
    context.db.commit_publication(&commit).await?;
    failpoint::pass("watermark_commit.after").await?;
    Ok(receipt)
}

/// The publication that this plan's finished chunks make.
pub(crate) async fn publication(
    context: &Context,
    input: &PublishExport,
    row: &db::Destination,
) -> Result<Publication, Failure> {
    let (number, epoch) = context
        .db
        .fixed_plan(input.export_id, &input.plan_id)
        .await?;
    let (parts, spans, counts) = context
        .db
        .plan_results(input.export_id, &input.plan_id)
        .await?;
    Ok(Publication {
        version: PUBLICATION_VERSION,
        destination_id: input.destination_id,
        number,
        export_id: input.export_id,
        plan_id: input.plan_id.clone(),
        epoch,
        burnt: false,
        format: row.format,
        published_at: Timestamp::now().to_string(),
        parts,
        spans,
        counts,
    })
}

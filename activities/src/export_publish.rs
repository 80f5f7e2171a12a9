//! `export.publish`: make a plan's parts visible under its number, create-only,
//! then advance the watermarks. What stands in the slot counts from there on.

use db::PublicationCommit;
use destination::Published;
use model::{PUBLICATION_VERSION, Publication, Timestamp};
use steps::{PublishExport, PublishReceipt};

use crate::export::destination_row;
use crate::export_adopt::{adopt, open};
use crate::failure::Failure;
use crate::step::{Claimed, of_export, once};
use crate::{Context, failpoint};

pub(crate) async fn run(
    context: &Context,
    input: &PublishExport,
) -> Result<PublishReceipt, Failure> {
    let step = of_export(input.export_id, format!("publish-{}", input.ordinal));
    once(context, step, |claimed| publish(context, input, claimed)).await
}

async fn publish(
    context: &Context,
    input: &PublishExport,
    Claimed { step, token, .. }: Claimed,
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
        step: Some((&step, token.as_str(), &receipt)),
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

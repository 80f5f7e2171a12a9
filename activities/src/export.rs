//! The activities of `DestinationExport`: names and wiring; the work is in
//! `export_*.rs`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::sync::Arc;

use model::{DestinationId, RunState};
use steps::export as signatures;
use steps::{
    ChunkReceipt, ClaimExport, ClaimedExport, CloseExport, DeliverChunk, PlanExport, PlanReceipt,
    PublishExport, PublishReceipt,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::attempt::attempt;
use crate::failure::Failure;
use crate::{Context, export_chunk, export_close, export_plan, export_publish};

/// The activities of exports.
#[derive(Debug)]
pub struct ExportActivities {
    context: Arc<Context>,
}

impl ExportActivities {
    /// Activities over a context.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[activities]
impl ExportActivities {
    /// Takes the queued export of a destination.
    #[activity(definition = signatures::Claim)]
    pub async fn claim(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ClaimExport,
    ) -> Result<ClaimedExport, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(
            &self.context,
            &ctx,
            async move { claim(&context, &input).await },
        )
        .await
    }

    /// Fixes a plan.
    #[activity(definition = signatures::Plan)]
    pub async fn plan(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PlanExport,
    ) -> Result<PlanReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            export_plan::run(&context, &input).await
        })
        .await
    }

    /// Writes the parts of a chunk.
    #[activity(definition = signatures::Chunk)]
    pub async fn chunk(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: DeliverChunk,
    ) -> Result<ChunkReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            export_chunk::run(&context, &input).await
        })
        .await
    }

    /// Publishes a plan.
    #[activity(definition = signatures::Publish)]
    pub async fn publish(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PublishExport,
    ) -> Result<PublishReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            export_publish::run(&context, &input).await
        })
        .await
    }

    /// Ends an export.
    #[activity(definition = signatures::Close)]
    pub async fn close(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CloseExport,
    ) -> Result<(), ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            export_close::run(&context, &input).await
        })
        .await
    }
}

/// Claims the queued export; one whose destination was disabled meanwhile ends.
async fn claim(context: &Context, input: &ClaimExport) -> Result<ClaimedExport, Failure> {
    let export_id = context
        .db
        .claim_export(input.destination_id, &input.chain)
        .await?;
    if let Some(id) = export_id
        && !destination_row(context, input.destination_id)
            .await?
            .enabled
    {
        context
            .db
            .end_export(
                id,
                RunState::Cancelled,
                Some("destination_disabled"),
                context.limits.back_off,
            )
            .await?;
        return Ok(ClaimedExport { export_id: None });
    }
    Ok(ClaimedExport { export_id })
}

pub(crate) async fn destination_row(
    context: &Context,
    id: DestinationId,
) -> Result<db::Destination, Failure> {
    Ok(context.db.destination(&id.to_string()).await?)
}

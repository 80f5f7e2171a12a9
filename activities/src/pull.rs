//! The activities of `PatientPull`: names and wiring; the work is in
//! `pull_*.rs`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::future::Future;
use std::sync::Arc;

use model::{PullId, PullKind, RunState};
use steps::pull as signatures;
use steps::{
    AttachmentReceipt, BeginPull, BegunPull, ClosePull, PlanPull, PullPlan, PullStep,
    PullStepReceipt, SettlePull, SettleReceipt,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::attempt::attempt;
use crate::failure::Failure;
use crate::pull_references::READS_IN_FLIGHT;
use crate::slot::{Asker, Turn, with_slot};
use crate::token_gate::with_token;
use crate::{
    Context, pull_attachment_plan, pull_attachments, pull_export, pull_pages, pull_plan,
    pull_references, pull_settle,
};

/// The activities of pulls.
#[derive(Debug)]
pub struct PullActivities {
    context: Arc<Context>,
}

impl PullActivities {
    /// Activities over a context.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[activities]
impl PullActivities {
    /// Takes the queued pull of a connection.
    #[activity(definition = signatures::Begin)]
    pub async fn begin(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: BeginPull,
    ) -> Result<BegunPull, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            let pull_id = context
                .db
                .claim_pull(input.connection_id, &input.chain)
                .await?;
            let Some(id) = pull_id else {
                return Ok(BegunPull {
                    pull_id,
                    patient_id: None,
                    kind: PullKind::Fetch,
                });
            };
            let connection = context.db.connection(input.connection_id).await?;
            Ok(BegunPull {
                pull_id,
                patient_id: Some(connection.summary.patient_id),
                kind: context.db.pull(id).await?.kind,
            })
        })
        .await
    }

    /// Plans the streams of a pull.
    #[activity(definition = signatures::Plan)]
    pub async fn plan(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PlanPull,
    ) -> Result<PullPlan, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            let asker = Asker {
                connection: input.connection_id,
                pull: input.pull_id,
                step: "plan",
                requests: 1,
            };
            let work = |_| pull_plan::run(&context, &input);
            in_turn(&context, asker, pull_plan::put_off, work).await
        })
        .await
    }

    /// Fetches pages into staging.
    #[activity(definition = signatures::Pages)]
    pub async fn pages(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PullStep,
    ) -> Result<PullStepReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            let work = |_| pull_pages::run(&context, &input);
            in_turn(&context, asker(&input, 1), put_off, work).await
        })
        .await
    }

    /// Reads what the fetched resources refer to.
    #[activity(definition = signatures::References)]
    pub async fn references(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PullStep,
    ) -> Result<PullStepReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            let work = |requests| pull_references::run(&context, &input, requests);
            in_turn(&context, asker(&input, READS_IN_FLIGHT), put_off, work).await
        })
        .await
    }

    /// Fetches the documents that the fetched resources name by a URL.
    #[activity(definition = signatures::Attachments)]
    pub async fn attachments(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PullStep,
    ) -> Result<AttachmentReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            attachments(&context, &input).await
        })
        .await
    }

    /// Settles a pull.
    #[activity(definition = signatures::Settle)]
    pub async fn settle(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SettlePull,
    ) -> Result<SettleReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            pull_settle::run(&context, &input).await
        })
        .await
    }

    /// Ends a pull that will not settle, and drops what it staged.
    #[activity(definition = signatures::Close)]
    pub async fn close(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ClosePull,
    ) -> Result<(), ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            let (id, state): (PullId, RunState) = (input.pull_id, input.state);
            context.db.end_pull(id, state, &input.code).await?;
            let connection = context.db.pull(id).await?.connection_id;
            pull_settle::drop_staging(&context, connection, id).await?;
            pull_export::abandon(&context, connection, id).await;
            Ok(())
        })
        .await
    }
}

/// Does work that talks to the source, with a token and one of its slots; without
/// either, it is to be called again, and `later` is the answer.
async fn in_turn<T, F: Future<Output = Result<T, Failure>>>(
    context: &Context,
    asker: Asker<'_>,
    later: impl FnOnce(u64) -> T,
    work: impl FnOnce(usize) -> F,
) -> Result<T, Failure> {
    let work = with_slot(context, asker, work);
    Ok(match with_token(context, asker.connection, work).await? {
        Turn::Done(receipt) => receipt,
        Turn::Later(wait_ms) => later(wait_ms),
    })
}

/// A step that would like to make so many requests at once.
fn asker(input: &PullStep, requests: usize) -> Asker<'_> {
    Asker {
        connection: input.connection_id,
        pull: input.pull_id,
        step: &input.step,
        requests,
    }
}

/// Nothing yet: to be called again.
fn put_off(wait_ms: u64) -> PullStepReceipt {
    PullStepReceipt {
        types: Vec::new(),
        pages: 0,
        more: true,
        wait_ms,
        held: None,
    }
}

/// Fetches attachments: with a token and slots of the source only where it is to be
/// asked, and without a verdict on the pull where there is no token any more.
pub(crate) async fn attachments(
    context: &Context,
    input: &PullStep,
) -> Result<AttachmentReceipt, Failure> {
    let found = pull_attachment_plan::look(context, input).await?;
    if !found.asks {
        return pull_attachments::run(context, input, &found, 0, None).await;
    }
    let asker = asker(input, READS_IN_FLIGHT);
    let fetched = in_turn(context, asker, pull_attachments::put_off, |requests| {
        pull_attachments::run(context, input, &found, requests, None)
    });
    match fetched.await {
        Err(Failure::Final { code, .. }) if pull_attachments::NO_TOKEN.contains(&code) => {
            pull_attachments::run(context, input, &found, 0, Some(code)).await
        }
        fetched => fetched,
    }
}

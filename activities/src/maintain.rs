//! The activities of `Maintain`: names and wiring; the work is in `maintain_*.rs`.
//!
//! They have no step rows: each looks at what is there, does what is to be done
//! and may be repeated. What must not happen twice is fenced where it happens, by
//! the log's version.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Timestamp;
use steps::maintain as signatures;
use steps::{
    ForgetDetails, ForgetReceipt, LookThroughDestinations, LookThroughRecords, MergeLogs,
    MergeReceipt, SweepReceipt,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::attempt::attempt;
use crate::failure::Failure;
use crate::{Context, maintain_merge, maintain_sweep_destinations, maintain_sweep_records};

/// How long one call works before it says where to go on.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(5 * 60);
/// How long it is known what was done under an `Idempotency-Key`.
const ANSWERS_KEPT: Duration = Duration::from_secs(48 * 3600);
/// Rows forgotten in one transaction.
const FORGET_ROWS: u32 = 1000;

/// The activities of the upkeep.
#[derive(Debug)]
pub struct MaintainActivities {
    context: Arc<Context>,
}

impl MaintainActivities {
    /// Activities over a context.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[activities]
impl MaintainActivities {
    /// Merges logs of many batches.
    #[activity(definition = signatures::Merge)]
    pub async fn merge(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: MergeLogs,
    ) -> Result<MergeReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            maintain_merge::run(&context, &input).await
        })
        .await
    }

    /// Removes from the record store what nobody names any more.
    #[activity(definition = signatures::SweepRecords)]
    pub async fn sweep_records(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: LookThroughRecords,
    ) -> Result<SweepReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            maintain_sweep_records::run(&context, &input).await
        })
        .await
    }

    /// Removes from destinations what cut-off exports left there.
    #[activity(definition = signatures::SweepDestinations)]
    pub async fn sweep_destinations(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: LookThroughDestinations,
    ) -> Result<SweepReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move {
            maintain_sweep_destinations::run(&context, &input).await
        })
        .await
    }

    /// Forgets the details of old runs.
    #[activity(definition = signatures::Retention)]
    pub async fn retention(
        self: Arc<Self>,
        ctx: ActivityContext,
        _: ForgetDetails,
    ) -> Result<ForgetReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(&self.context, &ctx, async move { forget(&context).await }).await
    }
}

async fn forget(context: &Context) -> Result<ForgetReceipt, Failure> {
    let started = Instant::now();
    let before = Timestamp::now().before(context.limits.maintain.retention);
    let mut receipt = ForgetReceipt {
        more: true,
        ..ForgetReceipt::default()
    };
    while receipt.more && started.elapsed() < CALL_MAX {
        let (rows, more) = context.db.forget_details(before, FORGET_ROWS).await?;
        let answers = context
            .db
            .forget_answers(Timestamp::now().before(ANSWERS_KEPT), FORGET_ROWS)
            .await?;
        receipt.rows += rows + answers;
        receipt.more = more || answers >= u64::from(FORGET_ROWS);
    }
    Ok(receipt)
}

/// Whether a look through `name` is due: looking through everything is dear, and
/// what is left over is small. An attempt that is repeated leaves it to the next.
pub(crate) async fn is_sweep_due(context: &Context, name: &str) -> Result<bool, Failure> {
    // Left-overs stay at most an eighth longer than they must.
    let pause = context.limits.maintain.orphan_age / 8;
    let holder = model::EventId::new().to_string();
    Ok(context
        .db
        .lease(&format!("sweep/{name}"), &holder, pause)
        .await?)
}

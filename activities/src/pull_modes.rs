//! Whether a type is asked for whole, or only for what has changed: decided where a
//! pull is planned, type by type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db::{Connection, TypeWatermark};
use model::{PullId, PullMode, Timestamp, TypeOutcome};
use steps::PullStepReceipt;

use crate::Context;
use crate::failure::Failure;
use crate::pull_pages::Fetch;
use crate::pull_progress::{Stream, plan_hash};

/// How a pull may ask for the types of its connection.
pub(crate) struct Modes {
    /// How far each type has come.
    watermarks: BTreeMap<String, TypeWatermark>,
    /// Types to ask for whole, whatever their watermark says: the source does not
    /// filter them, or deletions of them wait for a decision, which a later pull has to
    /// look at again.
    whole: BTreeSet<String>,
    /// Types that were last had whole before then are asked for whole.
    whole_before: Timestamp,
    overlap: Duration,
}

impl Modes {
    pub(crate) async fn of(
        context: &Context,
        connection: &Connection,
        pull: PullId,
    ) -> Result<Self, Failure> {
        let (db, limits) = (&context.db, &context.limits);
        let id = connection.summary.id;
        let mut modes = Self {
            watermarks: BTreeMap::new(),
            whole: BTreeSet::new(),
            whole_before: Timestamp::now().before(limits.full_pull_after),
            overlap: limits.pull_overlap,
        };
        if db.pull(pull).await?.full {
            return Ok(modes);
        }
        modes.watermarks = db.type_watermarks(id).await?;
        modes.whole = db.unfiltered_types(connection.summary.source_id).await?;
        modes.whole.extend(db.held_types(id).await?);
        Ok(modes)
    }

    /// The stream, in the mode that its type is asked for in.
    pub(crate) fn choose(&self, stream: Stream) -> Stream {
        match self.had_to(&stream) {
            Some(had_to) => stream.for_updates(had_to, self.overlap),
            None => stream,
        }
    }

    fn had_to(&self, stream: &Stream) -> Option<Timestamp> {
        let resource_type = &stream.plan.resource_type;
        let watermark = self.watermarks.get(resource_type)?;
        let is_young = watermark.completed_at > self.whole_before;
        let is_alike = watermark.plan_hash == plan_hash(&stream.plan);
        let may = is_young && is_alike && !self.whole.contains(resource_type);
        watermark.had_to.filter(|_| may)
    }
}

/// The types of which this pull has all that has changed: what of them is known and
/// was not served is as it was.
pub(crate) async fn updated_types(fetch: &Fetch<'_>) -> Result<BTreeSet<String>, Failure> {
    let run_id = fetch.input.pull_id.to_string();
    let receipts = fetch.context.db.step_receipts(&run_id, "pages-").await?;
    let receipts = receipts.into_iter().map(|(_, receipt)| receipt);
    Ok(receipts
        .flat_map(|receipt: PullStepReceipt| receipt.types)
        .filter(|line| {
            line.mode == Some(PullMode::Updated) && line.outcome == Some(TypeOutcome::Complete)
        })
        .map(|line| line.resource_type)
        .collect())
}

//! `export.plan`: fix what is to be delivered. The plan's number is the last
//! adopted publication + 1, read together with the watermarks; it is never
//! chosen again for this plan and never taken from a listing.

use db::{Candidate, NewPlan, PlannedSpan};
use model::BatchId;
use steps::{PlanExport, PlanReceipt};

use crate::Context;
use crate::export::destination_row;
use crate::export_adopt::{adopt_all, open};
use crate::export_close::decide;
use crate::failure::Failure;
use crate::step::{Claimed, of_export, once};

/// Connections in one plan at most: a longer backfill is a series of
/// publications, each with its own plan.
const PLAN_CONNECTIONS_MAX: u32 = 5_000;

pub(crate) async fn run(context: &Context, input: &PlanExport) -> Result<PlanReceipt, Failure> {
    let step = of_export(input.export_id, format!("plan-{}", input.ordinal));
    once(context, step, |claimed| fix(context, input, claimed)).await
}

async fn fix(
    context: &Context,
    input: &PlanExport,
    Claimed { step, token, .. }: Claimed,
) -> Result<PlanReceipt, Failure> {
    let row = destination_row(context, input.destination_id).await?;
    let files = open(context, &row).await?;
    let mut last = adopt_all(context, &files, row.last_publication).await?;
    // An export that ended while publishing may still publish, by an attempt that
    // was cut off: its number is decided before another plan has it.
    while let Some(plan) = context
        .db
        .undecided_plan(input.destination_id, last + 1)
        .await?
    {
        decide(context, &plan).await?;
        last = adopt_all(context, &files, last + 1).await?;
    }
    let candidates = context
        .db
        .candidates(input.destination_id, input.export_id, PLAN_CONNECTIONS_MAX)
        .await?;
    let more = candidates.len() == PLAN_CONNECTIONS_MAX as usize;
    let first_chunk = context.db.chunk_count(input.export_id).await?;
    let rows = candidates.iter().map(|candidate| candidate.row_count).sum();
    let spans = pack(candidates, first_chunk, context.limits.chunk_rows_target);
    let chunk_count = spans.last().map_or(0, |span| span.chunk + 1 - first_chunk);
    // Any unique text will do; a UUIDv7 says when.
    let plan_id = BatchId::new().to_string().replace(BatchId::PREFIX, "plan_");
    let receipt = PlanReceipt {
        plan_id: plan_id.clone(),
        number: last + 1,
        first_chunk,
        chunk_count,
        connections: spans.len() as u64,
        rows,
        more,
    };
    let plan = NewPlan {
        plan_id,
        number: last + 1,
        epoch: row.epoch,
        chunk_count,
        spans,
    };
    context
        .db
        .save_plan(input.export_id, &step, &token, &plan, &receipt)
        .await?;
    Ok(receipt)
}

/// Packs whole connections into chunks of about `rows_target` rows.
fn pack(candidates: Vec<Candidate>, first_chunk: u64, rows_target: u64) -> Vec<PlannedSpan> {
    let (mut chunk, mut rows) = (first_chunk, 0);
    let mut spans = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if rows > 0 && rows + candidate.row_count > rows_target {
            chunk += 1;
            rows = 0;
        }
        rows += candidate.row_count;
        spans.push(PlannedSpan { candidate, chunk });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(row_count: u64) -> Candidate {
        Candidate {
            connection_id: model::ConnectionId::new(),
            from_seq: 0,
            to_seq: 1,
            index_key: None,
            row_count,
        }
    }

    #[test]
    fn a_connection_lies_in_one_chunk_however_large() {
        let chunks = |rows: &[u64]| -> Vec<u64> {
            pack(rows.iter().map(|rows| candidate(*rows)).collect(), 3, 100)
                .iter()
                .map(|span| span.chunk)
                .collect()
        };
        assert_eq!(chunks(&[60, 40, 1]), [3, 3, 4]);
        assert_eq!(chunks(&[500, 1, 500]), [3, 4, 5]);
        assert_eq!(chunks(&[]), [0; 0]);
    }
}

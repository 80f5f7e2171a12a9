//! True counts (I8) of the runs that have ended.

use std::collections::HashMap;

use db::{Db, ExportAccount, PullAccount};
use model::{ExportCounts, ExportId, Publication};

use super::{Report, VerifyError};

/// Accounts read at once.
const PAGE: u32 = 500;
const REPORT_BUG: &str =
    "the records themselves are checked apart: report this as a bug, with the id";

/// What the publications say of each export: how many there are, and their
/// counts.
#[derive(Default)]
pub(super) struct Made(HashMap<ExportId, (u64, ExportCounts)>);

impl Made {
    /// A burnt number is nothing that was made.
    pub(super) fn add(&mut self, publication: &Publication) {
        if !publication.burnt {
            let (count, counts) = self.0.entry(publication.export_id).or_default();
            *count += 1;
            *counts += publication.counts;
        }
    }
}

pub(super) async fn check(db: &Db, made: &Made, report: &mut Report) -> Result<(), VerifyError> {
    let mut after = None;
    loop {
        let accounts = db.pull_accounts(after, PAGE).await?;
        let Some(last) = accounts.last() else { break };
        after = Some(last.id);
        for account in &accounts {
            report.checked.pulls += 1;
            check_pull(account, report);
        }
    }
    let mut after = None;
    loop {
        let accounts = db.export_accounts(after, PAGE).await?;
        let Some(last) = accounts.last() else { break };
        after = Some(last.id);
        for account in &accounts {
            report.checked.exports += 1;
            check_export(account, made, report);
        }
    }
    Ok(())
}

fn check_pull(pull: &PullAccount, report: &mut Report) {
    let counts = pull.counts;
    if !counts.is_true() {
        let what = format!(
            "{} resources were fetched and the counts of what became of them do not add up",
            counts.fetched
        );
        report.find(("I8", "pull_counts_wrong"), pull.id, what, REPORT_BUG);
    }
    if pull.types.is_some_and(|types| counts != types) {
        report.find(
            ("I8", "pull_types_wrong"),
            pull.id,
            "its counts are not the sum of its types'",
            REPORT_BUG,
        );
    }
    let rows = counts.new + counts.changed + counts.deleted;
    match (pull.batch_seq, pull.batch_rows) {
        (None, _) if rows > 0 => {
            let what = format!(
                "it counts {rows} rows that are new, changed or deleted and names no batch"
            );
            report.find(("I8", "pull_without_batch"), pull.id, what, REPORT_BUG);
        }
        (Some(seq), Some(batch)) if batch != (rows, counts.deleted) => {
            let what = format!(
                "it counts {rows} rows, {} deleted, and its batch {seq} has {}, {} deleted",
                counts.deleted, batch.0, batch.1
            );
            report.find(("I8", "batch_counts_wrong"), pull.id, what, REPORT_BUG);
        }
        // Without a row of its own the batch was merged, or is missed elsewhere.
        _ => {}
    }
}

fn check_export(export: &ExportAccount, made: &Made, report: &mut Report) {
    let counts = export.counts;
    if counts.planned != counts.delivered + counts.skipped + counts.failed {
        let what = format!(
            "{} rows were planned and the counts of what became of them do not add up",
            counts.planned
        );
        report.find(("I8", "export_counts_wrong"), export.id, what, REPORT_BUG);
    }
    // Publications may have come since they were read.
    if let Some((count, of)) = made.0.get(&export.id)
        && *count == export.published.publication_count
        && (counts.delivered, counts.skipped) != (of.delivered, of.skipped)
    {
        let what = format!(
            "it counts {} rows delivered and {} skipped, and its publications {} and {}",
            counts.delivered, counts.skipped, of.delivered, of.skipped
        );
        report.find(("I8", "export_counts_wrong"), export.id, what, REPORT_BUG);
    }
    if counts.delivered != export.published_rows {
        let what = format!(
            "it counts {} rows delivered, and its publications have {}",
            counts.delivered, export.published_rows
        );
        report.find(("I8", "export_rows_wrong"), export.id, what, REPORT_BUG);
    }
    if export.stated != export.published {
        let (stated, published) = (export.stated, export.published);
        let what = format!(
            "it counts {} publications, {} parts and {} bytes, and made {}, {} and {}",
            stated.publication_count,
            stated.part_count,
            stated.size_bytes,
            published.publication_count,
            published.part_count,
            published.size_bytes
        );
        report.find(("I8", "export_totals_wrong"), export.id, what, REPORT_BUG);
    }
}

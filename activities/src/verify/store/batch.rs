//! One batch: with its row in the catalogue, its numbers, and what the log said
//! before it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet};

use db::LoggedBatch;
use model::{Change, PullCounts, Reason, is_shared_type};
use records::{Footer, RowRef, SegmentReader};

use super::{LogCheck, REPORT_BUG, RESTORE};
use crate::verify::stretch::is_merged;

impl LogCheck<'_> {
    /// The batch against its row in the catalogue and the pull that wrote it.
    pub(super) fn compare(&mut self, batch: &LoggedBatch, reader: &SegmentReader) {
        let (footer, object) = (reader.footer(), batch.object_key.as_str());
        if reader.size_bytes() != batch.size_bytes {
            let what = format!(
                "it has {} bytes and was written with {}",
                reader.size_bytes(),
                batch.size_bytes
            );
            self.report
                .find(("I1", "batch_size_wrong"), object, what, RESTORE);
        }
        if footer.connection() != Some(self.log.connection_id) {
            self.report.find(
                ("I1", "batch_foreign"),
                object,
                "it is not of the connection that names it",
                RESTORE,
            );
        }
        let count = |change| footer.rows().filter(|row| row.change == change).count() as u64;
        let deleted = count(Change::Deleted);
        if (u64::from(footer.row_count()), deleted) != (batch.row_count, batch.deleted_count) {
            let what = format!(
                "it has {} rows, {deleted} deleted, and was written with {}, {} deleted",
                footer.row_count(),
                batch.row_count,
                batch.deleted_count
            );
            self.report
                .find(("I8", "batch_rows_wrong"), object, what, REPORT_BUG);
        }
        let (new, changed) = (count(Change::New), count(Change::Changed));
        let is_counted = |counts: PullCounts| {
            (counts.new, counts.changed, counts.deleted) == (new, changed, deleted)
        };
        if batch.pull_counts.is_some_and(|counts| !is_counted(counts)) && !is_merged(batch) {
            let what = format!(
                "it has {new} new, {changed} changed and {deleted} deleted rows, and its pull counts others"
            );
            self.report
                .find(("I8", "batch_changes_wrong"), object, what, REPORT_BUG);
        }
        let absent =
            |row: &RowRef<'_>| row.reason == Reason::Absent && is_shared_type(row.resource_type);
        let absent = footer.rows().filter(absent).count();
        if absent > 0 {
            let what = format!(
                "{absent} of its deletions are of resources that patients share, for being absent"
            );
            self.report
                .find(("I11", "shared_absent"), object, what, REPORT_BUG);
        }
    }

    /// Rows carry the numbers of their batch, or, merged, of one since
    /// `first_seq`; later batches have later settles.
    pub(super) fn numbers(&mut self, batch: &LoggedBatch, first_seq: u64, footer: &Footer) {
        let merged = is_merged(batch);
        let mut settles: BTreeMap<u64, u64> = BTreeMap::new();
        let mut misnumbered = 0;
        for row in footer.rows() {
            let settle_seq = *settles.entry(row.batch_seq).or_insert(row.settle_seq);
            // What is merged carries numbers of before, and no settle of its own.
            let is_right = if merged {
                (first_seq..=batch.seq).contains(&row.batch_seq)
            } else {
                (row.batch_seq, row.settle_seq) == (batch.seq, batch.settle_seq)
            };
            let is_right = is_right && row.settle_seq == settle_seq;
            misnumbered += u64::from(!is_right);
        }
        if misnumbered > 0 {
            let what = format!("{misnumbered} of its rows do not carry its batch or settle number");
            self.report.find(
                ("I1", "batch_misnumbered"),
                &batch.object_key,
                what,
                REPORT_BUG,
            );
            return;
        }
        let before = std::mem::replace(&mut self.settle_seq, batch.settle_seq);
        let order: Vec<u64> = std::iter::once(before)
            .chain(settles.into_values())
            .collect();
        if !order.is_sorted_by(|a, b| a < b) {
            self.report.find(
                ("I1", "batch_misnumbered"),
                &batch.object_key,
                "its settle numbers do not follow those of the batches before it",
                REPORT_BUG,
            );
        }
    }

    /// Each row against what the log said of its key before. Of a merged batch
    /// the rows before are gone; it says all that those after it follow from.
    pub(super) fn history(&mut self, batch: &LoggedBatch, footer: &Footer) {
        let merged = is_merged(batch);
        let (mut here, mut twice, mut wrong) = (HashSet::new(), 0, 0);
        for row in footer.rows() {
            let key = self.keys.key("", row.resource_type, row.id);
            if !here.insert(key) {
                twice += 1;
            }
            let now = (row.content_hash, !row.is_tombstone());
            let follows = match (self.known.entry(key), row.change) {
                (Entry::Vacant(entry), change) => {
                    entry.insert(now);
                    change == Change::New
                }
                (Entry::Occupied(mut entry), change) => match (entry.insert(now), change) {
                    ((_, was_live), Change::New) => !was_live,
                    ((hash, was_live), Change::Changed) => was_live && hash != row.content_hash,
                    ((hash, was_live), Change::Deleted) => was_live && hash == row.content_hash,
                },
            };
            wrong += u64::from(!follows && !merged);
        }
        if twice > 0 {
            let what = format!("{twice} of its rows are of a resource that it has another row of");
            self.report.find(
                ("I2", "batch_key_twice"),
                &batch.object_key,
                what,
                REPORT_BUG,
            );
        }
        // Without all earlier rows there is nothing to follow from.
        if wrong > 0 && twice == 0 && self.is_whole {
            let what = format!("{wrong} of its rows do not follow from the batches before it");
            self.report.find(
                ("I1", "batch_history_wrong"),
                &batch.object_key,
                what,
                REPORT_BUG,
            );
        }
    }
}

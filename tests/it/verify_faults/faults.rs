//! What is planted: a name, how it is done, and what is to be found.

use anyhow::Result;

use super::copy::Copy;
use super::plant::{
    batch_damaged, batch_foreign, batch_missing, byte_flipped, file_cut, file_removed,
    held_missing, index_foreign, later_log, leave_out, line_changed, line_changed_and_agreed,
    line_changed_and_hashed, listed_twice, numbers_ahead, orphan, parquet_in_two, resurrected,
    row_in_two, unknown_connection,
};
use super::plant_publications::{
    burnt, foreign, last_removed, no_owner, other_epoch, other_export, other_owner,
    publication_count, publication_cut, slot_emptied, slot_skipped, span_gap, spans_overlap,
};
use super::plant_rows::{
    batch_count, export_count, head_low, no_batch_row, pull_changes, pull_count, watermark,
};

/// A fault.
pub(super) struct Fault {
    /// What is wrong, in words.
    pub(super) name: &'static str,
    /// Plants it, and returns the object that the finding must name.
    pub(super) plant: fn(&Copy) -> Result<String>,
    /// The invariant and the code of that finding.
    pub(super) finds: (&'static str, &'static str),
}

/// Every fault there is.
pub(super) const FAULTS: &[Fault] = &[
    // Files of a publication.
    fault("a file is removed", file_removed, ("I1", "part_missing")),
    fault("a file is cut short", file_cut, ("I1", "part_changed")),
    fault("a line is changed", line_changed, ("I1", "part_changed")),
    fault(
        "a Parquet byte is flipped",
        byte_flipped,
        ("I1", "part_changed"),
    ),
    fault(
        "a line is changed, and the publication has its hash",
        line_changed_and_hashed,
        ("I4", "part_replaced"),
    ),
    fault(
        "a line is changed, and everything is made to agree",
        line_changed_and_agreed,
        ("I1", "rows_differ"),
    ),
    fault(
        "a file is listed twice",
        listed_twice,
        ("I2", "part_listed_twice"),
    ),
    fault(
        "a file is left out, and everything is recounted",
        |copy| leave_out(copy, &copy.ndjson, 2),
        ("I1", "rows_missing"),
    ),
    fault(
        "a deletion is lost, and everything is recounted",
        |copy| leave_out(copy, &copy.ndjson, 4),
        ("I1", "rows_missing"),
    ),
    fault(
        "a deletion is lost in Parquet, and everything is recounted",
        |copy| leave_out(copy, &copy.parquet, 4),
        ("I1", "rows_missing"),
    ),
    fault(
        "a resource comes back in Parquet",
        resurrected,
        ("I2", "view_not_gone"),
    ),
    fault(
        "a row stands in two publications",
        row_in_two,
        ("I2", "rows_unknown"),
    ),
    fault(
        "a Parquet file stands in two publications",
        parquet_in_two,
        ("I2", "rows_unknown"),
    ),
    fault(
        "a file of an unknown export",
        orphan,
        ("I4", "orphan_unknown"),
    ),
    // Publications.
    fault(
        "a publication is removed",
        slot_emptied,
        ("I4", "publication_missing"),
    ),
    fault(
        "the last publication is removed",
        last_removed,
        ("I4", "publication_missing"),
    ),
    fault(
        "a number is skipped",
        slot_skipped,
        ("I4", "publication_missing"),
    ),
    fault(
        "a publication is cut short",
        publication_cut,
        ("I4", "publication_unreadable"),
    ),
    fault(
        "another destination's publication",
        foreign,
        ("I4", "publication_foreign"),
    ),
    fault(
        "a publication of another epoch",
        other_epoch,
        ("I4", "publication_foreign"),
    ),
    fault(
        "a publication of another export",
        other_export,
        ("I4", "publication_replaced"),
    ),
    fault(
        "a burnt publication with files",
        burnt,
        ("I4", "burnt_not_empty"),
    ),
    fault(
        "a publication counts one row too many",
        publication_count,
        ("I8", "publication_counts_wrong"),
    ),
    fault("spans overlap", spans_overlap, ("I2", "span_overlap")),
    fault("a span is left out", span_gap, ("I1", "span_gap")),
    fault("another owner", other_owner, ("I4", "owner_foreign")),
    fault("no owner", no_owner, ("I4", "owner_missing")),
    // The database.
    fault(
        "watermark + 1",
        |copy| watermark(copy, "+ 1"),
        ("I3", "watermark_ahead"),
    ),
    fault(
        "watermark - 1",
        |copy| watermark(copy, "- 1"),
        ("I3", "watermark_behind"),
    ),
    fault(
        "a watermark beyond the log",
        |copy| watermark(copy, "+ 7"),
        ("I3", "watermark_beyond_log"),
    ),
    fault(
        "a batch is missing in the catalogue",
        no_batch_row,
        ("I1", "batch_row_missing"),
    ),
    fault(
        "the log's end is one too low",
        head_low,
        ("I1", "batch_beyond_head"),
    ),
    fault(
        "a batch counts one row too many",
        batch_count,
        ("I8", "batch_rows_wrong"),
    ),
    fault(
        "a pull counts one resource too many",
        pull_count,
        ("I8", "pull_counts_wrong"),
    ),
    fault(
        "a pull takes new for changed",
        pull_changes,
        ("I8", "batch_changes_wrong"),
    ),
    fault(
        "an export counts one row too many",
        |copy| export_count(copy, "delivered"),
        ("I8", "export_rows_wrong"),
    ),
    fault(
        "an export skips one row too many",
        |copy| export_count(copy, "skipped"),
        ("I8", "export_counts_wrong"),
    ),
    fault(
        "deletions wait that are not there",
        held_missing,
        ("I11", "held_missing"),
    ),
    // The record store.
    fault("a batch is missing", batch_missing, ("I1", "batch_missing")),
    fault(
        "a bit of a batch is flipped",
        |copy| batch_damaged(copy, |bytes| bytes[20] ^= 1),
        ("I1", "batch_corrupt"),
    ),
    fault(
        "the end of a batch is gone",
        |copy| batch_damaged(copy, |bytes| bytes.truncate(bytes.len() - 9)),
        ("I1", "batch_corrupt"),
    ),
    fault(
        "another connection's batch",
        batch_foreign,
        ("I1", "batch_foreign"),
    ),
    fault(
        "another connection's index",
        index_foreign,
        ("I1", "index_wrong"),
    ),
    fault("an older database", numbers_ahead, ("I1", "database_older")),
    fault(
        "records of an unknown connection",
        unknown_connection,
        ("I1", "object_unknown"),
    ),
    fault("batches of a later log", later_log, ("I1", "object_ahead")),
];

const fn fault(
    name: &'static str,
    plant: fn(&Copy) -> Result<String>,
    finds: (&'static str, &'static str),
) -> Fault {
    Fault { name, plant, finds }
}

//! Deletions that wait for a decision (I11): what would be accepted must be there.

use db::{Db, HeldObject};
use records::{Error, SegmentReader, Store};

use super::{Report, VerifyError};

/// Rows read at once.
const PAGE: u32 = 500;
const DISCARD: &str = "discard these deletions; the next full pull of the connection looks again";

pub(super) async fn check(db: &Db, store: &Store, report: &mut Report) -> Result<(), VerifyError> {
    let mut after = None;
    loop {
        let held = db.held_objects(after, PAGE).await?;
        let Some(last) = held.last() else {
            return Ok(());
        };
        after = Some(last.pull_id);
        for of in &held {
            report.checked.held += 1;
            let Some((code, what)) = fault(store, of).await else {
                continue;
            };
            // Decided meanwhile, its object is gone for good.
            if db.is_held(of.pull_id).await? {
                report.find(("I11", code), &of.object_key, what, DISCARD);
            }
        }
    }
}

async fn fault(store: &Store, held: &HeldObject) -> Option<(&'static str, String)> {
    let reader = match SegmentReader::open(store, &held.object_key).await {
        Ok(reader) => reader,
        Err(error @ Error::NotFound { .. }) => return Some(("held_missing", error.to_string())),
        Err(error) => return Some(("held_unreadable", error.to_string())),
    };
    let footer = reader.footer();
    let deleted = footer.rows().filter(|row| row.is_tombstone()).count() as u64;
    let is_ours = footer.connection() == Some(held.connection_id);
    if is_ours && (u64::from(footer.row_count()), deleted) == (held.row_count, held.row_count) {
        return None;
    }
    let what = format!(
        "it has {} rows, {deleted} deleted, and {} holds {} deletions in it",
        footer.row_count(),
        held.pull_id,
        held.row_count
    );
    Some(("held_wrong", what))
}

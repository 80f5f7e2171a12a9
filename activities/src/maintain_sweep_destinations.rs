//! `maintain.sweep_destinations`: removes from a destination the files of exports
//! that ended long ago and that no publication names: those of chunks that were
//! cut off, of plans that were made anew, of runs that failed.
//!
//! What is published is read from the publications themselves. The files of an
//! open export stay, whether published or not, and those of one whose publication
//! is undecided until its number has been passed. Files of exports that this
//! database does not know are counted and left alone.

use std::collections::HashMap;

use destination::{FileDestination, StoredObject, gaps};
use model::{ExportId, Timestamp};
use steps::{LookThroughDestinations, SweepReceipt};

use crate::Context;
use crate::export_adopt::open;
use crate::failure::Failure;
use crate::maintain::is_sweep_due;

pub(crate) async fn run(
    context: &Context,
    input: &LookThroughDestinations,
) -> Result<SweepReceipt, Failure> {
    let mut receipt = SweepReceipt::default();
    let mut rows = context.db.destinations().await?;
    rows.retain(|row| !row.awaits_test);
    rows.sort_by_key(|row| row.id);
    let mut rest = rows
        .iter()
        .filter(|row| input.after.is_none_or(|after| row.id > after));
    let Some(row) = rest.next() else {
        return Ok(receipt);
    };
    receipt.next_destination = rest.next().map(|_| row.id);
    if !is_sweep_due(context, &row.id.to_string()).await? {
        return Ok(receipt);
    }
    receipt.looked_through = 1;
    // A destination that cannot be reached must not keep the others.
    if let Err(failure) = sweep(context, row, &mut receipt).await {
        receipt.failed = 1;
        tracing::warn!(destination.id = %row.id, "it was not swept: {failure}");
    }
    Ok(receipt)
}

async fn sweep(
    context: &Context,
    row: &db::Destination,
    receipt: &mut SweepReceipt,
) -> Result<(), Failure> {
    let files = open(context, row).await?;
    // Files first: what an export writes later is not among them.
    let listed = files.list_parts().await?;
    let before = Timestamp::now().before(context.limits.maintain.orphan_age);
    let exports = context.db.exports_over(row.id, before).await?;
    let mut unnamed: HashMap<String, StoredObject> = listed
        .into_iter()
        .filter(|object| {
            let export = export_of(&object.path);
            export.is_none_or(|export| exports.get(&export).copied().unwrap_or(true))
        })
        .map(|object| (object.path.clone(), object))
        .collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    forget_published(&files, row.last_publication, &mut unnamed).await?;
    for object in unnamed.values() {
        match export_of(&object.path) {
            Some(export) if exports.contains_key(&export) => {
                files.remove_part(object).await?;
                receipt.removed += 1;
                receipt.removed_bytes += object.size_bytes;
            }
            _ => receipt.unknown += 1,
        }
    }
    Ok(())
}

/// Takes out what publications name. A feed that is not whole names too little:
/// then nothing may be removed.
async fn forget_published(
    files: &FileDestination,
    last: u64,
    unnamed: &mut HashMap<String, StoredObject>,
) -> Result<(), Failure> {
    let numbers = files.publication_numbers(1).await?;
    if !gaps(1, &numbers).is_empty() || numbers.last().copied().unwrap_or(0) < last {
        return Err(Failure::last(
            "destination_corrupt",
            "publications are missing: `chartlift verify` says which",
        ));
    }
    for number in numbers {
        let Some(publication) = files.publication(number).await? else {
            return Err(Failure::retry(
                "destination_unavailable",
                "a publication that was listed is gone",
            ));
        };
        for part in &publication.parts {
            unnamed.remove(&part.path);
        }
    }
    Ok(())
}

/// The export that wrote a file, by its name: `ndjson/{export}/…` or
/// `tables/{type}/{export}/…`.
fn export_of(path: &str) -> Option<ExportId> {
    let mut names = path.split('/');
    let name = match names.next()? {
        "ndjson" => names.next()?,
        "tables" => names.nth(1)?,
        _ => return None,
    };
    name.parse().ok()
}

//! What an export would deliver now: the rows that a chunk would read, counted by
//! their footers.

use db::{Db, Destination};
use model::Rehearsal;
use records::Store;

use crate::export_span::open_span;
use crate::failure::Failure;

/// Connections read from the database at a time.
const PAGE: u32 = 500;

/// A rehearsal that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[error("{what} ({code})")]
pub struct RehearsalError {
    /// The stable code.
    pub code: &'static str,
    what: String,
}

/// Counts what `destination` lacks, held back or not.
///
/// # Errors
/// What keeps an export from reading it.
pub async fn rehearse(
    db: &Db,
    store: &Store,
    destination: &Destination,
) -> Result<Rehearsal, RehearsalError> {
    run(db, store, destination).await.map_err(|failure| {
        let (code, what) = failure.told();
        RehearsalError { code, what }
    })
}

pub(crate) async fn run(
    db: &Db,
    store: &Store,
    destination: &Destination,
) -> Result<Rehearsal, Failure> {
    let mut sum = Rehearsal::default();
    let mut patients = std::collections::HashSet::new();
    let mut after = None;
    loop {
        let spans = db.lacking(destination.id, after, PAGE).await?;
        let Some(last) = spans.last() else {
            sum.patients = patients.len() as u64;
            return Ok(sum);
        };
        after = Some(last.connection_id);
        for span in &spans {
            let size = open_span(db, store, span, destination.epoch).await?.size();
            if size.resources + size.deletions == 0 {
                continue;
            }
            patients.insert(span.patient_id);
            sum.connections += 1;
            sum.resources += size.resources;
            sum.deletions += size.deletions;
            sum.size_bytes += size.bytes;
        }
    }
}

//! `chartlift verify`: re-reads the record store and every destination and
//! checks I1 to I4, I8 and what waits under I11, on a deployment that may be at
//! work.
//!
//! Watermarks and last publications are read first, then publications, then
//! logs: each may have grown since the one before was read, and what is newer
//! than what it is compared with is not judged. What changes in place, as a log
//! does that is merged, is read at one moment and looked at again where it moved.
//! Runs in flight are listed.
//!
//! Invariant: it writes nothing, and nothing it says holds resource content or
//! an id of a source's (I9): our ids, names of objects, counts.

mod attachments;
mod counts;
mod destination;
mod held;
mod objects;
mod report;
mod rows;
mod store;
mod stretch;
mod view;

#[cfg(test)]
pub(crate) mod tests;

use db::Db;
use records::Store;

use crate::Destinations;

pub use report::{Checked, Finding, Report};

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Whether to read every body and every part again; otherwise names, sizes
    /// and footers alone.
    pub bodies: bool,
}

/// Why a deployment could not be verified. What is wrong with the store or a
/// destination is a finding; only the database cannot be done without.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database did not answer, or holds what cannot be read.
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// Verifies a deployment.
///
/// # Errors
/// [`VerifyError`].
pub async fn verify(
    db: &Db,
    store: &Store,
    destinations: &Destinations,
    options: &VerifyOptions,
) -> Result<Report, VerifyError> {
    let mut report = Report {
        in_flight: db.running_runs().await?,
        ..Report::default()
    };
    let mut made = counts::Made::default();
    for state in db.destination_states().await? {
        let opened = destinations.open(state.id, &state.location).await;
        destination::check(db, store, options, opened, &state, &mut made, &mut report).await?;
    }
    store::check(db, store, options, &mut report).await?;
    attachments::check(db, store, options, &mut report).await?;
    objects::check(db, store, &mut report).await?;
    held::check(db, store, &mut report).await?;
    counts::check(db, &made, &mut report).await?;
    Ok(report)
}

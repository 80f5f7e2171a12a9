//! File destinations over object storage: whose prefix it is, parts, the
//! numbered publications that make them visible, and what `verify` and `doctor`
//! look at. Finished parts come in from `formats`, through a step that joins the
//! two.
//!
//! Invariants: nothing here knows what a part holds, which run is running, or
//! which publication should come next; it says what stands at the destination.
//! Nothing becomes visible but through [`FileDestination::publish`], which is
//! create-only: a number that is taken stays as it is.

mod error;
mod files;
mod location;
mod manifest;
mod owner;
mod part;
mod probe;
mod publication;

pub use error::Error;
pub use files::FileDestination;
pub use location::check_location;
pub use part::{PartCheck, StoredObject};
pub use probe::Checked;
pub use publication::{Published, gaps};

#[cfg(test)]
mod tests;

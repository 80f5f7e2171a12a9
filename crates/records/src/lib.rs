//! The record store: what was pulled, as files in object storage, one log per
//! connection.
//!
//! A pull step appends resources to *staging* objects; *settle* turns them into
//! one *batch* of what is new, changed or gone, and a new *index*; an export
//! reads a *span* of batches. Staging objects and batches share one format, the
//! *segment* (`docs/contract.md`); the index is a cache that footers rebuild.
//!
//! Invariant: no database, no network but the object store, and no resource
//! content or source id in any error text. Everything read is checked: a corrupt
//! object is a typed error that names it, never a panic.

mod absent;
mod column;
mod copy;
mod error;
mod index;
mod keys;
mod masked;
mod merge;
mod newest;
mod segment;
mod settle;
mod span;
mod staging;
mod store;

pub use absent::{Absences, absences};
pub use error::Error;
pub use index::{BatchRef, Index, IndexEntry};
pub use merge::{Merge, Merged, merge};
pub use segment::{
    FOOTER_RAW_BYTES_MAX, FRAME_RAW_BYTES, Footer, Frame, Location, RESOURCE_BYTES_MAX, RowRef,
    SEGMENT_VERSION, Segment, SegmentReader, SegmentWriter, frame_texts,
};
pub use settle::{BatchObject, Numbers, Settle, Settled, settle};
pub use span::{ExportRow, SpanReader, SpanSize, TypeRows};
pub use staging::{STAGING_AGE_MAX, STAGING_RAW_BYTES, StagingObject, StagingWriter};
pub use store::{ListedObject, Store};

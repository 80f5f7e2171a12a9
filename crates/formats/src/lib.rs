//! Rows and their resource text to the files data teams read: NDJSON, plain or
//! compressed, and Parquet. Bytes come in from the record store; a finished part
//! goes out to a destination, which knows nothing of what is inside.
//!
//! Invariants: pure, without I/O, clock or randomness: the same rows give the
//! same bytes, so that a part may be named by them. A resource's text is copied,
//! never re-serialised (I12). No error holds resource text or a source's id.

mod count;
mod error;
mod ndjson;
mod parquet;
mod part;
mod read;

pub use self::count::count_rows;
pub use self::error::Error;
pub use self::parquet::schema;
pub use self::part::{
    FinishedPart, PART_SIZE_BYTES_TARGET, PartWriter, RESOURCE_SIZE_BYTES_MAX, RowContext,
    lists_deletions,
};
pub use self::read::{FileRow, read_rows};

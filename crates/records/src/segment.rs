//! The segment: the one file format of our own, of staging objects and batches.
//!
//! zstd frames of NDJSON, one resource type each, then one zstd *skippable*
//! frame with the footer: `zstdcat` prints the resources, and a reader finds out
//! everything else from the last 64 KiB. `docs/contract.md` specifies every byte.

mod body;
mod footer;
mod read;
mod rows;
mod write;

pub use footer::{Footer, Frame};
pub use read::{Segment, SegmentReader, frame_texts};
pub use rows::{Location, RowRef};
pub use write::SegmentWriter;

pub(crate) use read::slice;
pub(crate) use write::Written;

/// The version of the format this code writes, and the newest it reads.
pub const SEGMENT_VERSION: u16 = 1;

/// A frame holds up to this much raw text (1 MiB), or one larger resource alone:
/// what is decompressed to read one resource, and what is held at a time.
pub const FRAME_RAW_BYTES: usize = 1 << 20;

/// The largest resource (256 MiB): attachments are inline, and offsets are 32 bits.
pub const RESOURCE_BYTES_MAX: usize = 256 << 20;

/// The largest footer before compression (128 MiB): about 1.3 million rows, six
/// times the largest connection planned for.
pub const FOOTER_RAW_BYTES_MAX: u64 = 128 << 20;

/// zstd's fastest level: measured best for staging and batches.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// The first reserved magic of skippable frames (RFC 8878, 3.1.2).
pub(crate) const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

//! The publication: the file that makes an export visible.

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, DestinationId, ExportCounts, ExportId, FileFormat};

/// The version of the publication file this code writes.
pub const PUBLICATION_VERSION: u32 = 1;

/// Publication `number` of a destination, created create-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// [`PUBLICATION_VERSION`] of its writer.
    pub version: u32,
    /// The destination.
    pub destination_id: DestinationId,
    /// Its place in the destination's feed, from 1, without gaps.
    pub number: u64,
    /// The export that published it.
    pub export_id: ExportId,
    /// The plan of that export; an export that plans anew has another.
    pub plan_id: String,
    /// The destination's epoch; a full re-send is a new one.
    pub epoch: u64,
    /// Whether the slot was burnt: nothing was delivered under this number.
    #[serde(default)]
    pub burnt: bool,
    /// How the files are written.
    pub format: FileFormat,
    /// When it was written, RFC 3339.
    pub published_at: String,
    /// The files.
    pub parts: Vec<Part>,
    /// What the files hold of each connection.
    pub spans: Vec<Span>,
    /// The counts of the export.
    pub counts: ExportCounts,
}

/// One file of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its key, relative to the destination's prefix.
    pub path: String,
    /// The type of all its rows.
    pub resource_type: String,
    /// Whether it lists deletions rather than resources (NDJSON only; a Parquet
    /// part says so per row).
    #[serde(default)]
    pub deleted: bool,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
}

/// The batches `(from, to]` of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The watermark before.
    pub from: u64,
    /// The watermark after.
    pub to: u64,
    /// Rows delivered of it.
    pub row_count: u64,
}

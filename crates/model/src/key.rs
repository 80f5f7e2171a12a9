//! One enum names every object Chartlift writes, in the record store and in a
//! destination. Every object but a publication has a name that no other attempt
//! can write.

use std::fmt;

use crate::{AttachmentId, BatchId, ConnectionId, ExportId, FileFormat, PullId};

/// The name of an object, relative to the store's or the destination's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKey {
    /// Record store: pages of a pull that has not settled.
    Staging {
        /// Whose record.
        connection: ConnectionId,
        /// Fetched by which pull.
        pull: PullId,
        /// By which step of it.
        step: String,
        /// In which attempt (its token).
        token: String,
        /// The object's number within the attempt.
        number: u32,
    },
    /// Record store: one batch of a connection's log.
    Batch {
        /// Whose record.
        connection: ConnectionId,
        /// Its number in the log.
        seq: u64,
        /// Which attempt's.
        batch: BatchId,
    },
    /// Record store: the connection's index after a batch.
    Index {
        /// Whose record.
        connection: ConnectionId,
        /// The last batch it knows.
        seq: u64,
        /// Which attempt's.
        batch: BatchId,
    },
    /// Record store: the connection's batches up to `seq`, merged into one.
    MergedBatch {
        /// Whose record.
        connection: ConnectionId,
        /// The number of the last batch in it.
        seq: u64,
        /// Which attempt's.
        batch: BatchId,
    },
    /// Record store: deletions that a pull found and that wait for a decision.
    Held {
        /// Whose record.
        connection: ConnectionId,
        /// Found by which pull.
        pull: PullId,
        /// In which attempt (its token).
        token: String,
    },
    /// Record store: a piece of an attachment's bytes; all pieces in their order are
    /// the whole.
    Attachment {
        /// Whose record.
        connection: ConnectionId,
        /// Which one.
        attachment: AttachmentId,
        /// Fetched by which attempt.
        token: String,
        /// The piece's number, from 0.
        piece: u32,
    },
    /// Record store: the end of the last reserved block of settle numbers.
    SettleSeq,
    /// Record store: a sentinel that `doctor` writes and removes.
    Probe {
        /// A name of this probe alone.
        token: String,
    },
    /// Destination: whose prefix this is.
    Owner,
    /// Destination: publication `number`.
    Publication {
        /// Its number.
        number: u64,
    },
    /// Destination: a Parquet part, named by its bytes.
    ParquetPart {
        /// The type of its rows.
        resource_type: String,
        /// The export that wrote it.
        export: ExportId,
        /// The first 32 hexadecimal digits of its SHA-256.
        hash: String,
    },
    /// Destination: an NDJSON part, named by place and bytes.
    NdjsonPart {
        /// The type of its rows.
        resource_type: String,
        /// The export that wrote it.
        export: ExportId,
        /// Its number within type and export.
        number: u32,
        /// The first 16 hexadecimal digits of its SHA-256.
        hash: String,
        /// Compression.
        format: FileFormat,
        /// Whether it lists deletions.
        deleted: bool,
    },
    /// Destination: the Bulk Data manifest of an NDJSON export.
    Manifest {
        /// The export.
        export: ExportId,
    },
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Staging {
                connection,
                pull,
                step,
                token,
                number,
            } => {
                write!(
                    f,
                    "connections/{connection}/staging/{pull}/{step}/{token}-{number:05}.ndjson.zst"
                )
            }
            Self::Batch {
                connection,
                seq,
                batch,
            } => {
                write!(
                    f,
                    "connections/{connection}/batches/{seq:012}-{batch}.ndjson.zst"
                )
            }
            Self::Index {
                connection,
                seq,
                batch,
            } => {
                write!(
                    f,
                    "connections/{connection}/index/{seq:012}-{batch}.index.zst"
                )
            }
            Self::MergedBatch {
                connection,
                seq,
                batch,
            } => {
                write!(
                    f,
                    "connections/{connection}/batches/{seq:012}-{batch}.merged.ndjson.zst"
                )
            }
            Self::Held {
                connection,
                pull,
                token,
            } => write!(f, "connections/{connection}/held/{pull}/{token}.ndjson.zst"),
            Self::Attachment {
                connection,
                attachment,
                token,
                piece,
            } => {
                write!(
                    f,
                    "connections/{connection}/attachments/{attachment}-{token}.{piece:03}"
                )
            }
            Self::SettleSeq => f.write_str("_chartlift/seq.json"),
            Self::Probe { token } => write!(f, "_chartlift/probe/{token}"),
            Self::Owner => f.write_str("_chartlift/owner.json"),
            Self::Publication { number } => write!(f, "_chartlift/publications/{number:020}.json"),
            Self::ParquetPart {
                resource_type,
                export,
                hash,
            } => {
                write!(f, "tables/{resource_type}/{export}/{hash}.zstd.parquet")
            }
            Self::NdjsonPart {
                resource_type,
                export,
                number,
                hash,
                format,
                deleted,
            } => {
                let folder = if *deleted { "deleted/" } else { "" };
                write!(
                    f,
                    "ndjson/{export}/{folder}{resource_type}.{number:03}-{hash}.{}",
                    format.extension()
                )
            }
            Self::Manifest { export } => write!(f, "ndjson/{export}/manifest.json"),
        }
    }
}

/// The names of the pieces of an attachment whose name is `object`, as its row has it:
/// the name of a piece without the number.
pub fn piece_keys(object: &str, count: u64) -> impl Iterator<Item = String> {
    (0..count).map(move |piece| format!("{object}.{piece:03}"))
}

//! One part: a file of rows of one resource type.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use model::{
    Change, ConnectionId, ExportId, FileFormat, ObjectKey, Part, PatientId, RowMeta,
    is_resource_type,
};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::ndjson::NdjsonWriter;
use crate::parquet::ParquetWriter;

/// The size at which a part is closed where nothing else is asked for: what
/// lakehouse readers plan well with.
pub const PART_SIZE_BYTES_TARGET: usize = 128 << 20;

/// The largest resource that is written: far above any real one, and below the
/// 2 GiB at which Arrow's offsets end.
pub const RESOURCE_SIZE_BYTES_MAX: usize = 1 << 30;

/// Digits of the hash in the name of an NDJSON part, which has a number beside.
const NDJSON_HASH_DIGITS: usize = 16;
/// Digits of the hash in the name of a Parquet part.
const PARQUET_HASH_DIGITS: usize = 32;

/// What all rows of one connection have in common in one export.
#[derive(Debug, Clone, Copy)]
pub struct RowContext<'a> {
    /// The identity of the source: its normalised base URL at creation.
    pub source: &'a str,
    /// Whose record.
    pub patient_id: PatientId,
    /// Pulled through which connection.
    pub connection_id: ConnectionId,
    /// Written by which export.
    pub export_id: ExportId,
}

/// Whether a row of this change goes to a part of deletions. Parquet says so in
/// the row itself, NDJSON in files of their own.
#[must_use]
pub fn lists_deletions(format: FileFormat, change: Change) -> bool {
    format != FileFormat::Parquet && change == Change::Deleted
}

/// Writes one part in memory. The caller closes it when it [is full](Self::is_full).
///
/// It holds the encoded file; for Parquet one row group (a quarter of the target,
/// 32 MiB at most) and one batch (8 MiB of text, in a buffer that may be twice
/// that) besides; for compressed NDJSON one member (1 MiB of text); and always one
/// resource more. The target is what bounds a worker's memory.
pub struct PartWriter {
    format: FileFormat,
    resource_type: String,
    deleted: bool,
    size_bytes_target: usize,
    row_count: u64,
    rows: Rows,
}

enum Rows {
    Ndjson(Box<NdjsonWriter>),
    Parquet(Box<ParquetWriter>),
}

impl PartWriter {
    /// An empty part that is full at `size_bytes_target` encoded bytes.
    pub fn new(
        format: FileFormat,
        resource_type: &str,
        deleted: bool,
        size_bytes_target: usize,
    ) -> Result<Self, Error> {
        if !is_resource_type(resource_type) {
            return Err(Error::ResourceType);
        }
        let rows = match format {
            FileFormat::Parquet if deleted => {
                return Err(Error::Misplaced {
                    resource_type: resource_type.to_owned(),
                    deleted,
                });
            }
            FileFormat::Parquet => Rows::Parquet(Box::new(ParquetWriter::new(size_bytes_target)?)),
            FileFormat::Ndjson | FileFormat::NdjsonGzip | FileFormat::NdjsonZstd => {
                Rows::Ndjson(Box::new(NdjsonWriter::new(format)?))
            }
        };
        Ok(Self {
            format,
            resource_type: resource_type.to_owned(),
            deleted,
            size_bytes_target,
            row_count: 0,
            rows,
        })
    }

    /// Appends a row. `text` is the resource's compact JSON; of a tombstone it is
    /// not looked at. After an error the part must be given up.
    pub fn push(
        &mut self,
        context: &RowContext<'_>,
        row: &RowMeta,
        text: &[u8],
    ) -> Result<(), Error> {
        if row.head.resource_type != self.resource_type
            || lists_deletions(self.format, row.change) != self.deleted
        {
            return Err(Error::Misplaced {
                resource_type: self.resource_type.clone(),
                deleted: self.deleted,
            });
        }
        let text = match row.change {
            Change::Deleted => None,
            Change::New | Change::Changed => Some(self.checked(text)?),
        };
        match &mut self.rows {
            Rows::Parquet(writer) => writer.push(context, row, text)?,
            Rows::Ndjson(writer) => match text {
                Some(text) => writer.push(text.as_bytes())?,
                None => writer.push_deletion(&self.resource_type, &row.head.id)?,
            },
        }
        self.row_count += 1;
        Ok(())
    }

    /// The text, if it is one line of UTF-8 of a size that can be written.
    fn checked<'a>(&self, text: &'a [u8]) -> Result<&'a str, Error> {
        let resource_type = || self.resource_type.clone();
        if text.len() > RESOURCE_SIZE_BYTES_MAX {
            return Err(Error::TooLarge {
                resource_type: resource_type(),
                size_bytes: text.len(),
                size_bytes_max: RESOURCE_SIZE_BYTES_MAX,
            });
        }
        if text.contains(&b'\n') {
            return Err(Error::LineFeed {
                resource_type: resource_type(),
            });
        }
        std::str::from_utf8(text).map_err(|_| Error::NotUtf8 {
            resource_type: resource_type(),
        })
    }

    /// Encoded bytes so far; rows that wait for their member or batch are not in
    /// it yet.
    #[must_use]
    pub fn size_estimate(&self) -> usize {
        match &self.rows {
            Rows::Ndjson(writer) => writer.size_estimate(),
            Rows::Parquet(writer) => writer.size_estimate(),
        }
    }

    /// Whether the part has reached its target size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.size_estimate() >= self.size_bytes_target
    }

    /// Rows so far.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Closes the file. A part without rows is a valid file without rows.
    pub fn finish(self) -> Result<FinishedPart, Error> {
        let bytes = Bytes::from(match self.rows {
            Rows::Ndjson(writer) => writer.finish()?,
            Rows::Parquet(writer) => writer.finish()?,
        });
        Ok(FinishedPart {
            format: self.format,
            resource_type: self.resource_type,
            deleted: self.deleted,
            row_count: self.row_count,
            sha256: HEXLOWER.encode(&Sha256::digest(&bytes)),
            bytes,
        })
    }
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPart {
    /// How it is written.
    pub format: FileFormat,
    /// The type of all its rows.
    pub resource_type: String,
    /// Whether it lists deletions.
    pub deleted: bool,
    /// Rows, tombstones included.
    pub row_count: u64,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub sha256: String,
    /// The file.
    pub bytes: Bytes,
}

impl FinishedPart {
    /// Its name, which no other bytes can have. `number` counts the parts of this
    /// type in this export; Parquet parts do without.
    #[must_use]
    pub fn key(&self, export: ExportId, number: u32) -> ObjectKey {
        let hash = |digits| self.sha256.chars().take(digits).collect();
        let resource_type = self.resource_type.clone();
        match self.format {
            FileFormat::Parquet => ObjectKey::ParquetPart {
                resource_type,
                export,
                hash: hash(PARQUET_HASH_DIGITS),
            },
            FileFormat::Ndjson | FileFormat::NdjsonGzip | FileFormat::NdjsonZstd => {
                ObjectKey::NdjsonPart {
                    resource_type,
                    export,
                    number,
                    hash: hash(NDJSON_HASH_DIGITS),
                    format: self.format,
                    deleted: self.deleted,
                }
            }
        }
    }

    /// What a publication says of it when it lies under `key`.
    #[must_use]
    pub fn describe(&self, key: &ObjectKey) -> Part {
        Part {
            path: key.to_string(),
            resource_type: self.resource_type.clone(),
            deleted: self.deleted,
            row_count: self.row_count,
            size_bytes: self.bytes.len() as u64,
            sha256: self.sha256.clone(),
        }
    }
}

#[cfg(test)]
mod tests;

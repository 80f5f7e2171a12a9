//! Reads the rows of a finished file back, as `verify` compares them with what
//! the log says was delivered. What a row's content hash says is computed from
//! its text, never believed.

use std::io::{BufRead, BufReader};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use libdeflater::Decompressor;
use model::{Change, ContentHash, FileFormat, content_hash, read_head};

use crate::Error;

/// How a gzip member of ours begins.
const GZIP_HEADER: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
/// The smallest gzip member: header, an empty block, checksum and length.
const GZIP_MEMBER_SIZE_BYTES_MIN: usize = 20;
/// Deflate cannot expand by more: a longer length is a lie.
const DEFLATE_RATIO_MAX: usize = 1032;
/// Rows decoded at once: as many of the largest resources the record store takes
/// (256 MiB) as stay below the 2 GiB at which Arrow's offsets end.
const BATCH_ROW_COUNT: usize = 7;

/// A row of a file, as far as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRow<'a> {
    /// The connection and the number of the batch; NDJSON does not say.
    pub origin: Option<(&'a str, u64)>,
    /// The number of the settle; NDJSON does not say.
    pub settle_seq: Option<u64>,
    /// The type.
    pub resource_type: &'a str,
    /// The id.
    pub id: &'a str,
    /// The hash of the content it has; none for a deletion.
    pub content_hash: Option<ContentHash>,
}

/// Hands every row of a file to `each` and returns how many there are. `deleted`
/// says whether the file lists deletions, as its publication does.
pub fn read_rows(
    format: FileFormat,
    deleted: bool,
    file: &Bytes,
    mut each: impl FnMut(FileRow<'_>),
) -> Result<u64, Error> {
    let mut row_count = 0;
    let mut line = |line: &[u8]| {
        row_count += 1;
        let row = if deleted {
            read_deletion(line, &mut each)
        } else {
            read_resource(line, &mut each)
        };
        row.ok_or(Error::Corrupt {
            format,
            what: "a line is not what it should be",
        })
    };
    match format {
        FileFormat::Parquet => return read_parquet(file, each),
        FileFormat::Ndjson => read_lines(format, &file[..], &mut line)?,
        FileFormat::NdjsonGzip => read_gzip(file, &mut line)?,
        FileFormat::NdjsonZstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&file[..]).map_err(|_| {
                Error::Corrupt {
                    format,
                    what: "a zstd frame cannot be read",
                }
            })?;
            read_lines(format, BufReader::new(decoder), &mut line)?;
        }
    }
    Ok(row_count)
}

type EachLine<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

fn read_lines(
    format: FileFormat,
    mut text: impl BufRead,
    each: &mut EachLine<'_>,
) -> Result<(), Error> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let size = text
            .read_until(b'\n', &mut line)
            .map_err(|_| Error::Corrupt {
                format,
                what: "it cannot be decompressed",
            })?;
        if size == 0 {
            return Ok(());
        }
        let line = line.strip_suffix(b"\n").ok_or(Error::Corrupt {
            format,
            what: "its last line has no end",
        })?;
        each(line)?;
    }
}

/// Members are cut as [`crate::count_rows`] cuts them; our writer ends each with
/// a line.
fn read_gzip(file: &[u8], each: &mut EachLine<'_>) -> Result<(), Error> {
    let format = FileFormat::NdjsonGzip;
    let mut decompressor = Decompressor::new();
    let (mut text, mut start) = (Vec::new(), 0);
    while start < file.len() {
        let mut end = start;
        let size = (0..2).find_map(|_| {
            let from = end + GZIP_MEMBER_SIZE_BYTES_MIN;
            let next = file
                .get(from..)?
                .windows(GZIP_HEADER.len())
                .position(|bytes| bytes == GZIP_HEADER);
            end = next.map_or(file.len(), |at| from + at);
            let member = &file[start..end];
            let length = u32::from_le_bytes(*member.last_chunk::<4>()?) as usize;
            if length > member.len().saturating_mul(DEFLATE_RATIO_MAX) {
                return None;
            }
            text.resize(length, 0);
            decompressor
                .gzip_decompress(member, &mut text)
                .ok()
                .filter(|size| *size == length)
        });
        size.ok_or(Error::Corrupt {
            format,
            what: "a gzip member cannot be read",
        })?;
        read_lines(format, &text[..], each)?;
        start = end;
    }
    Ok(())
}

fn read_resource(line: &[u8], each: &mut impl FnMut(FileRow<'_>)) -> Option<()> {
    let head = read_head(line).ok()?;
    let hash = content_hash(line);
    each(FileRow {
        origin: None,
        settle_seq: None,
        resource_type: &head.resource_type,
        id: &head.id,
        content_hash: Some(hash),
    });
    Some(())
}

/// A line of Bulk Data's `deleted` files: a Bundle of one DELETE.
fn read_deletion(line: &[u8], each: &mut impl FnMut(FileRow<'_>)) -> Option<()> {
    let bundle: serde_json::Value = serde_json::from_slice(line).ok()?;
    let url = bundle.pointer("/entry/0/request/url")?.as_str()?;
    // An id may hold a slash; a type does not.
    let (resource_type, id) = url.split_once('/')?;
    each(FileRow {
        origin: None,
        settle_seq: None,
        resource_type,
        id,
        content_hash: None,
    });
    Some(())
}

fn read_parquet(file: &Bytes, mut each: impl FnMut(FileRow<'_>)) -> Result<u64, Error> {
    let corrupt = |what| Error::Corrupt {
        format: FileFormat::Parquet,
        what,
    };
    let unreadable = |_| corrupt("its rows cannot be read");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())
        .map_err(|_| corrupt("its footer cannot be read"))?;
    let columns = [
        "resource_type",
        "id",
        "connection_id",
        "change",
        "batch_seq",
        "settle_seq",
        "content_hash",
        "resource",
    ];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROW_COUNT)
        .build()
        .map_err(unreadable)?;
    let mut row_count = 0;
    for batch in reader {
        let batch = batch.map_err(|_| corrupt("its rows cannot be read"))?;
        row_count += batch.num_rows() as u64;
        read_batch(&batch, &mut each).map_err(corrupt)?;
    }
    Ok(row_count)
}

fn read_batch(batch: &RecordBatch, each: &mut impl FnMut(FileRow<'_>)) -> Result<(), &'static str> {
    const SCHEMA: &str = "it has not the published columns";
    let text = |name| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or(SCHEMA)
    };
    let (types, ids, connections) = (text("resource_type")?, text("id")?, text("connection_id")?);
    let (changes, hashes, resources) = (text("change")?, text("content_hash")?, text("resource")?);
    let number = |name| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .ok_or(SCHEMA)
    };
    let (seqs, settles) = (number("batch_seq")?, number("settle_seq")?);
    for row in 0..batch.num_rows() {
        let is_deletion = changes.value(row) == Change::Deleted.as_str();
        if is_deletion != resources.is_null(row) {
            return Err("a deletion has a resource, or another row has none");
        }
        let hash = if is_deletion {
            None
        } else {
            Some(checked(row, types, ids, hashes, resources)?)
        };
        let seq = u64::try_from(seqs.value(row)).map_err(|_| "a batch number is negative")?;
        let settle =
            u64::try_from(settles.value(row)).map_err(|_| "a settle number is negative")?;
        each(FileRow {
            origin: Some((connections.value(row), seq)),
            settle_seq: Some(settle),
            resource_type: types.value(row),
            id: ids.value(row),
            content_hash: hash,
        });
    }
    Ok(())
}

/// The hash of a row's resource, if its columns say the same as its text.
fn checked(
    row: usize,
    types: &StringArray,
    ids: &StringArray,
    hashes: &StringArray,
    resources: &StringArray,
) -> Result<ContentHash, &'static str> {
    let text = resources.value(row).as_bytes();
    let hash = content_hash(text);
    if hash.to_string() != hashes.value(row) {
        return Err("a content hash is not that of its resource");
    }
    let head = read_head(text).map_err(|_| "a resource cannot be read")?;
    if head.resource_type == types.value(row) && head.id == ids.value(row) {
        Ok(hash)
    } else {
        Err("a row names another resource than its text")
    }
}

#[cfg(test)]
mod tests {
    use model::{Head, Reason, RowMeta, Timestamp};

    use super::*;
    use crate::{PartWriter, RowContext, lists_deletions};

    fn file(format: FileFormat, change: Change, count: usize) -> Bytes {
        let context = RowContext {
            source: "https://portal.example/fhir",
            patient_id: model::PatientId::new(),
            connection_id: model::ConnectionId::new(),
            export_id: model::ExportId::new(),
        };
        let deleted = lists_deletions(format, change);
        let mut part = PartWriter::new(format, "Observation", deleted, 1 << 20).unwrap();
        for n in 0..count {
            let id = format!("a/\\\"é{n}");
            let (quoted, padding) = (serde_json::to_string(&id).unwrap(), "x ".repeat(n % 700));
            let text = format!(
                r#"{{"resourceType":"Observation","id":{quoted},"v":1.10,"p":"{padding}"}}"#
            );
            let row = RowMeta {
                head: Head {
                    resource_type: "Observation".into(),
                    id,
                    version_id: None,
                    last_updated: None,
                },
                change,
                reason: if change == Change::Deleted {
                    Reason::Absent
                } else {
                    Reason::None
                },
                content_hash: content_hash(text.as_bytes()),
                fetched_at: Timestamp(0),
                batch_seq: 3,
                settle_seq: 4,
            };
            part.push(&context, &row, text.as_bytes()).unwrap();
        }
        part.finish().unwrap().bytes
    }

    #[test]
    fn rows_come_back_and_damage_is_an_error() {
        for format in FileFormat::ALL.iter().copied() {
            for change in [Change::Changed, Change::Deleted] {
                let deleted = lists_deletions(format, change);
                let bytes = file(format, change, 3000);
                let mut at = 0;
                let count = read_rows(format, deleted, &bytes, |row| {
                    assert_eq!(
                        (row.resource_type, row.id),
                        ("Observation", format!("a/\\\"é{at}").as_str())
                    );
                    assert_eq!(row.content_hash.is_none(), change == Change::Deleted);
                    assert_eq!(
                        row.origin.map(|(_, seq)| seq),
                        (format == FileFormat::Parquet).then_some(3)
                    );
                    at += 1;
                });
                assert_eq!((count.unwrap(), at), (3000, 3000), "{format}");
                assert_eq!(
                    read_rows(format, deleted, &file(format, change, 0), |_| ()).unwrap(),
                    0
                );
                let cut = bytes.slice(..bytes.len() - 5);
                assert!(
                    read_rows(format, deleted, &cut, |_| ()).is_err(),
                    "{format}"
                );
            }
        }
        let texts: [&[u8]; 3] = [b"{}\n", b"\n", b"{\"resourceType\":\"Bundle\"}\n"];
        for text in texts {
            for deleted in [false, true] {
                assert!(
                    read_rows(
                        FileFormat::Ndjson,
                        deleted,
                        &Bytes::from_static(text),
                        |_| ()
                    )
                    .is_err()
                );
            }
        }
    }
}

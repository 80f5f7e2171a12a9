//! Reads the rows of a finished file back, as `verify` compares them with what
//! the log says was delivered. What a row's content hash says is computed from
//! its text, never believed.

mod parquet;

use std::io::{BufRead, BufReader};

use bytes::Bytes;
use libdeflater::Decompressor;
use model::{ContentHash, FileFormat, content_hash, read_head};

use self::parquet::read_parquet;
use crate::Error;

/// How a gzip member of ours begins.
const GZIP_HEADER: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
/// The smallest gzip member: header, an empty block, checksum and length.
const GZIP_MEMBER_SIZE_BYTES_MIN: usize = 20;
/// Deflate cannot expand by more: a longer length is a lie.
const DEFLATE_RATIO_MAX: usize = 1032;

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

#[cfg(test)]
mod tests;

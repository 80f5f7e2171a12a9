//! Counts the rows of a finished file, as `verify` does with what lies at a
//! destination. The file may be anything: what is not sound is an error.

use std::io::Read;

use ::parquet::file::metadata::ParquetMetaDataReader;
use bytes::Bytes;
use libdeflater::Decompressor;
use model::FileFormat;

use crate::Error;

/// How a member of ours begins: gzip, deflate, no flags, no time. The two bytes
/// that follow name level and system.
const GZIP_HEADER: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
/// The smallest gzip member: header, an empty block, checksum and length.
const GZIP_MEMBER_SIZE_BYTES_MIN: usize = 20;
/// Deflate cannot expand by more: a longer length is a lie that must not be
/// allocated.
const DEFLATE_RATIO_MAX: usize = 1032;

/// Rows of a file that [`crate::PartWriter`] wrote.
pub fn count_rows(format: FileFormat, file: &Bytes) -> Result<u64, Error> {
    match format {
        FileFormat::Ndjson => {
            let mut lines = Lines::default();
            lines.read(file);
            lines.finish(format)
        }
        FileFormat::NdjsonGzip => count_gzip(file),
        FileFormat::NdjsonZstd => count_zstd(file),
        FileFormat::Parquet => {
            let metadata = ParquetMetaDataReader::new()
                .parse_and_finish(file)
                .map_err(|_| Error::Corrupt {
                    format,
                    what: "its footer cannot be read",
                })?;
            u64::try_from(metadata.file_metadata().num_rows()).map_err(|_| Error::Corrupt {
                format,
                what: "its row count is negative",
            })
        }
    }
}

/// A count of lines that notices when the last one has no end.
#[derive(Default)]
struct Lines {
    count: u64,
    open: bool,
}

impl Lines {
    fn read(&mut self, text: &[u8]) {
        self.count += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.open = text.last().map_or(self.open, |last| *last != b'\n');
    }

    fn finish(self, format: FileFormat) -> Result<u64, Error> {
        if self.open {
            return Err(Error::Corrupt {
                format,
                what: "its last line has no end",
            });
        }
        Ok(self.count)
    }
}

/// libdeflate does not say where a member ended, so members are cut where the
/// next header stands. Eight given bytes hardly turn up in compressed data; if
/// they do, the cut member fails its checksum and is tried with the next one.
fn count_gzip(file: &[u8]) -> Result<u64, Error> {
    let format = FileFormat::NdjsonGzip;
    let mut decompressor = Decompressor::new();
    let (mut lines, mut text) = (Lines::default(), Vec::new());
    let mut start = 0;
    while start < file.len() {
        let mut end = start;
        // At most one false cut per member is believed in: more would make a
        // crafted file cost the square of its size.
        let read = (0..2).find_map(|_| {
            end = next_header(file, end + GZIP_MEMBER_SIZE_BYTES_MIN);
            let size = decompress(&mut decompressor, file.get(start..end)?, &mut text)?;
            Some(size)
        });
        let size = read.ok_or(Error::Corrupt {
            format,
            what: "a gzip member cannot be read",
        })?;
        lines.read(&text[..size]);
        start = end;
    }
    if file.is_empty() {
        return Err(Error::Corrupt {
            format,
            what: "it is empty",
        });
    }
    lines.finish(format)
}

/// Where the next member begins at or after `from`, or the end of the file.
fn next_header(file: &[u8], from: usize) -> usize {
    file.get(from..)
        .and_then(|rest| {
            rest.windows(GZIP_HEADER.len())
                .position(|bytes| bytes == GZIP_HEADER)
        })
        .map_or(file.len(), |at| from + at)
}

/// Decompresses exactly one member into `text`; its length stands at its end.
fn decompress(decompressor: &mut Decompressor, member: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let length = u32::from_le_bytes(*member.last_chunk::<4>()?) as usize;
    if length > member.len().saturating_mul(DEFLATE_RATIO_MAX) {
        return None;
    }
    if text.len() < length {
        text.resize(length, 0);
    }
    decompressor
        .gzip_decompress(member, &mut text[..length])
        .ok()
        .filter(|size| *size == length)
}

fn count_zstd(file: &[u8]) -> Result<u64, Error> {
    let format = FileFormat::NdjsonZstd;
    let corrupt = |_| Error::Corrupt {
        format,
        what: "a zstd frame cannot be read",
    };
    if file.is_empty() {
        return Err(Error::Corrupt {
            format,
            what: "it is empty",
        });
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(corrupt)?;
    let mut lines = Lines::default();
    let mut text = vec![0; 128 << 10];
    loop {
        match decoder.read(&mut text).map_err(corrupt)? {
            0 => return lines.finish(format),
            size => lines.read(&text[..size]),
        }
    }
}

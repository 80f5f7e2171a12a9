//! NDJSON: one resource a line, the text as it is. Compressed files are a chain
//! of gzip members or zstd frames of about 1 MiB of lines each, a valid file of
//! their kind, which bounds memory and lets a reader begin in the middle.

use libdeflater::{CompressionLvl, Compressor};
use model::FileFormat;
use zstd::bulk::Compressor as ZstdCompressor;

use crate::Error;

/// Text of one member or frame; a longer resource is alone in its own.
const MEMBER_SIZE_BYTES: usize = 1 << 20;
/// libdeflate's level. On sample records, in members of 1 MiB, 6 writes 8 %
/// (Observation) to 21 % (ExplanationOfBenefit) less and takes 1.7 times the CPU,
/// 350 against 610 MB/s. Whoever minds the size takes zstd, which beats both.
const GZIP_LEVEL: i32 = 1;
/// zstd's level: on FHIR in small frames it compresses better than its own 3.
const ZSTD_LEVEL: i32 = 1;

pub(crate) struct NdjsonWriter {
    format: FileFormat,
    codec: Codec,
    /// Lines that wait for their member; always empty without compression.
    waiting: Vec<u8>,
    file: Vec<u8>,
}

enum Codec {
    Plain,
    Gzip(Compressor),
    Zstd(ZstdCompressor<'static>),
}

impl NdjsonWriter {
    /// `format` is one of NDJSON's; for another it writes plain lines.
    pub(crate) fn new(format: FileFormat) -> Result<Self, Error> {
        let codec = match format {
            FileFormat::Ndjson | FileFormat::Parquet => Codec::Plain,
            FileFormat::NdjsonGzip => Codec::Gzip(Compressor::new(
                CompressionLvl::new(GZIP_LEVEL).expect("the level is one that libdeflate has"),
            )),
            FileFormat::NdjsonZstd => {
                let encode = |source: std::io::Error| Error::Encode {
                    format,
                    source: source.into(),
                };
                let mut compressor = ZstdCompressor::new(ZSTD_LEVEL).map_err(encode)?;
                compressor.include_checksum(true).map_err(encode)?;
                Codec::Zstd(compressor)
            }
        };
        Ok(Self {
            format,
            codec,
            waiting: Vec::new(),
            file: Vec::new(),
        })
    }

    /// Appends `text` as a line.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), Error> {
        let lines = match self.codec {
            Codec::Plain => &mut self.file,
            Codec::Gzip(_) | Codec::Zstd(_) => {
                if !self.waiting.is_empty() && self.waiting.len() + text.len() >= MEMBER_SIZE_BYTES
                {
                    self.close_member()?;
                }
                &mut self.waiting
            }
        };
        lines.reserve(text.len() + 1);
        lines.extend_from_slice(text);
        lines.push(b'\n');
        Ok(())
    }

    /// Appends a deletion in the shape of Bulk Data's `deleted` files: a
    /// transaction Bundle, here always of one entry, so that lines are rows.
    pub(crate) fn push_deletion(&mut self, resource_type: &str, id: &str) -> Result<(), Error> {
        let url = serde_json::to_string(&format!("{resource_type}/{id}")).map_err(|source| {
            Error::Encode {
                format: self.format,
                source: source.into(),
            }
        })?;
        let line = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"request":{{"method":"DELETE","url":{url}}}}}]}}"#
        );
        self.push(line.as_bytes())
    }

    fn close_member(&mut self) -> Result<(), Error> {
        let encode = |source: Box<dyn std::error::Error + Send + Sync>| Error::Encode {
            format: self.format,
            source,
        };
        let start = self.file.len();
        match &mut self.codec {
            Codec::Plain => {}
            Codec::Gzip(compressor) => {
                self.file.resize(
                    start + compressor.gzip_compress_bound(self.waiting.len()),
                    0,
                );
                let written = compressor
                    .gzip_compress(&self.waiting, &mut self.file[start..])
                    .map_err(|error| encode(error.into()))?;
                self.file.truncate(start + written);
            }
            Codec::Zstd(compressor) => {
                let frame = compressor
                    .compress(&self.waiting)
                    .map_err(|error| encode(error.into()))?;
                self.file.extend_from_slice(&frame);
            }
        }
        self.waiting.clear();
        if self.waiting.capacity() > 2 * MEMBER_SIZE_BYTES {
            // One huge resource must not be paid for until the part ends.
            self.waiting.shrink_to(MEMBER_SIZE_BYTES);
        }
        Ok(())
    }

    pub(crate) fn size_estimate(&self) -> usize {
        self.file.len()
    }

    /// The file; without lines it still is a valid member or frame.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Error> {
        if !self.waiting.is_empty() || self.file.is_empty() {
            self.close_member()?;
        }
        Ok(self.file)
    }
}

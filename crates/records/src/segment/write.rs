//! Writing a segment: rows are collected into one open frame a type, and whole
//! frames of another segment can be copied as they are.

mod compress;
mod copy;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use model::{Change, ConnectionId, RawResource, Reason, RowMeta, Timestamp, is_resource_type};
use object_store::PutPayload;
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;
use crate::segment::footer::{Footer, Frame};
use crate::segment::rows::{Location, RowRef, RowTable};
use crate::segment::write::compress::FrameCompressor;
use crate::segment::{FRAME_RAW_BYTES, RESOURCE_BYTES_MAX};

/// All open frames together stay below this (16 MiB): beyond it the largest is
/// closed, so that memory does not grow with the number of types.
const OPEN_RAW_BYTES_MAX: usize = 16 << 20;

/// A frame that is not full yet.
#[derive(Debug)]
struct OpenFrame {
    text: Vec<u8>,
    rows: RowTable,
}

/// Writes one segment. Rows of one type keep the order in which they are pushed.
pub struct SegmentWriter {
    compressor: FrameCompressor,
    connection: Option<ConnectionId>,
    types: Vec<String>,
    type_indexes: HashMap<String, u16>,
    open: BTreeMap<u16, OpenFrame>,
    open_bytes: usize,
    chunks: Vec<Bytes>,
    frames: Vec<Frame>,
    end: u64,
    raw_bytes: u64,
    rows: RowTable,
    tombstones: RowTable,
}

/// A finished segment, in the pieces it was made of.
pub(crate) struct Written {
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) size_bytes: u64,
    pub(crate) footer: Footer,
}

impl Written {
    pub(crate) fn to_payload(&self) -> PutPayload {
        self.chunks.iter().cloned().collect()
    }
}

impl SegmentWriter {
    /// A writer for a segment of `connection`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where zstd finds no memory.
    pub fn new(connection: Option<ConnectionId>) -> Result<Self, Error> {
        Ok(Self {
            compressor: FrameCompressor::new()?,
            connection,
            types: Vec::new(),
            type_indexes: HashMap::new(),
            open: BTreeMap::new(),
            open_bytes: 0,
            chunks: Vec::new(),
            frames: Vec::new(),
            end: 0,
            raw_bytes: 0,
            rows: RowTable::default(),
            tombstones: RowTable::default(),
        })
    }

    /// The raw bytes pushed so far.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Adds a resource as it was fetched: not numbered yet.
    ///
    /// # Errors
    /// As [`SegmentWriter::push_row`].
    pub fn push(&mut self, resource: &RawResource, fetched_at: Timestamp) -> Result<(), Error> {
        let head = &resource.head;
        let row = RowRef {
            resource_type: &head.resource_type,
            id: &head.id,
            version_id: head.version_id.as_deref(),
            last_updated: head.last_updated.as_deref(),
            change: Change::New,
            reason: Reason::None,
            content_hash: resource.hash,
            fetched_at,
            batch_seq: 0,
            settle_seq: 0,
        };
        self.push_ref(row, &resource.text)
    }

    /// Adds a row with its text.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a text above [`crate::RESOURCE_BYTES_MAX`] or more
    /// rows than a footer holds; [`Error::Invalid`] for a text that is empty or has
    /// a line feed, a type that is none, and a tombstone.
    pub fn push_row(&mut self, meta: &RowMeta, text: &[u8]) -> Result<(), Error> {
        self.push_ref(meta.into(), text)
    }

    pub(crate) fn push_ref(&mut self, row: RowRef<'_>, text: &[u8]) -> Result<(), Error> {
        if row.is_tombstone() || row.reason != Reason::None {
            return Err(Error::Invalid {
                what: "a tombstone was given a text",
            });
        }
        if text.len() > RESOURCE_BYTES_MAX {
            let (size_bytes, size_bytes_max) = (text.len() as u64, RESOURCE_BYTES_MAX as u64);
            return Err(Error::TooLarge {
                what: "resource",
                size_bytes,
                size_bytes_max,
            });
        }
        if text.is_empty() || has_line_feed(text) {
            return Err(Error::Invalid {
                what: "a resource is empty or not compact",
            });
        }
        let type_index = self.type_index(row.resource_type)?;
        let line_bytes = text.len() + 1;
        let open_here = self
            .open
            .get(&type_index)
            .map_or(0, |frame| frame.text.len());
        if open_here > 0 && open_here + line_bytes > FRAME_RAW_BYTES {
            self.close_frame(type_index)?;
        }
        let frame = self.open.entry(type_index).or_insert_with(|| OpenFrame {
            text: self.compressor.text_buffer(),
            rows: RowTable::default(),
        });
        let location = Location {
            frame: 0,
            offset: frame.text.len() as u32,
            length: text.len() as u32,
        };
        frame.rows.push(type_index, row, Some(location))?;
        frame.text.extend_from_slice(text);
        frame.text.push(b'\n');
        let is_full = frame.text.len() >= FRAME_RAW_BYTES;
        self.open_bytes += line_bytes;
        self.raw_bytes += line_bytes as u64;
        if is_full {
            self.close_frame(type_index)?;
        }
        while self.open_bytes > OPEN_RAW_BYTES_MAX {
            let largest = self
                .open
                .iter()
                .max_by_key(|(_, frame)| frame.text.len())
                .map(|(index, _)| *index);
            let Some(largest) = largest else { break };
            self.close_frame(largest)?;
        }
        Ok(())
    }

    /// Adds a tombstone.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `meta` is none, or has no reason or no usable type;
    /// [`Error::TooLarge`] for more rows than a footer holds.
    pub fn push_tombstone(&mut self, meta: &RowMeta) -> Result<(), Error> {
        self.push_tombstone_ref(meta.into())
    }

    pub(crate) fn push_tombstone_ref(&mut self, row: RowRef<'_>) -> Result<(), Error> {
        if !row.is_tombstone() || row.reason == Reason::None {
            return Err(Error::Invalid {
                what: "a tombstone must be a deletion and say why",
            });
        }
        let type_index = self.type_index(row.resource_type)?;
        self.tombstones.push(type_index, row, None)
    }

    /// Ends the segment: its bytes and what is in it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where the footer is.
    pub fn finish(self) -> Result<(Bytes, Footer), Error> {
        let written = self.finish_chunks()?;
        let mut bytes = Vec::with_capacity(written.size_bytes as usize);
        for chunk in &written.chunks {
            bytes.extend_from_slice(chunk);
        }
        Ok((bytes.into(), written.footer))
    }

    /// As [`SegmentWriter::finish`], without joining the pieces.
    pub(crate) fn finish_chunks(mut self) -> Result<Written, Error> {
        while let Some(type_index) = self.open.keys().next().copied() {
            self.close_frame(type_index)?;
        }
        self.rows
            .append(&self.tombstones, crate::segment::rows::NO_FRAME)?;
        let footer = Footer {
            connection: self.connection,
            types: self.types,
            frames: self.frames,
            rows: self.rows,
        };
        let end = footer.encode()?;
        let size_bytes = self.end + end.len() as u64;
        self.chunks.push(end.into());
        Ok(Written {
            chunks: self.chunks,
            size_bytes,
            footer,
        })
    }

    fn type_index(&mut self, name: &str) -> Result<u16, Error> {
        if let Some(index) = self.type_indexes.get(name) {
            return Ok(*index);
        }
        if !is_resource_type(name) {
            return Err(Error::Invalid {
                what: "a row is of no legal resource type",
            });
        }
        let index = u16::try_from(self.types.len()).map_err(|_| Error::Invalid {
            what: "too many resource types",
        })?;
        self.types.push(name.to_owned());
        self.type_indexes.insert(name.to_owned(), index);
        Ok(index)
    }

    fn close_frame(&mut self, type_index: u16) -> Result<(), Error> {
        let Some(OpenFrame { text, rows }) = self.open.remove(&type_index) else {
            return Ok(());
        };
        let raw_bytes = text.len();
        self.open_bytes -= raw_bytes;
        let compressed = self.compressor.compress(text)?;
        let first_row = self.rows.rows.len() as u32;
        self.rows.append(&rows, self.frames.len() as u32)?;
        let frame = Frame {
            type_index,
            offset: 0,
            size_bytes: compressed.len() as u32,
            raw_bytes: raw_bytes as u32,
            checksum: xxh3_64(&compressed),
            first_row,
            row_count: rows.rows.len() as u32,
            dead_row_count: 0,
        };
        self.add_frame(frame, compressed);
        Ok(())
    }

    fn add_frame(&mut self, frame: Frame, compressed: Bytes) {
        self.frames.push(Frame {
            offset: self.end,
            ..frame
        });
        self.end += compressed.len() as u64;
        self.chunks.push(compressed);
    }
}

fn has_line_feed(text: &[u8]) -> bool {
    // To the end in any case: so the compiler looks at many bytes at a time.
    text.iter().fold(false, |has, byte| has | (*byte == b'\n'))
}

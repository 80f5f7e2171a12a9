//! The footer of a segment: what lies in the file, checked as a whole before any
//! of it is believed.

use model::ConnectionId;
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;
use crate::column::is_plausible;
use crate::segment::body;
use crate::segment::rows::{Location, NO_FRAME, Row, RowRef, RowTable, footer_too_large};
use crate::segment::{FOOTER_RAW_BYTES_MAX, SEGMENT_VERSION, SKIPPABLE_MAGIC, ZSTD_LEVEL};

const MAGIC: [u8; 8] = *b"CHLFTSG1";
/// The header of a skippable frame: magic and length.
const SKIPPABLE_HEADER: u64 = 8;
/// The trailer: the last bytes of the file.
const TRAILER: usize = 32;

/// One zstd frame of NDJSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub(super) type_index: u16,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its compressed size.
    pub size_bytes: u32,
    /// The size of its text.
    pub raw_bytes: u32,
    /// xxh3-64 of its compressed bytes.
    pub checksum: u64,
    /// The number of its first row.
    pub first_row: u32,
    /// How many rows lie in it.
    pub row_count: u32,
    /// How many lines of it count no more.
    pub dead_row_count: u32,
}

/// What a segment holds: its frames and rows. Rows are in the order of their
/// frames and of their place in them; tombstones follow.
#[derive(Debug, Clone)]
pub struct Footer {
    pub(super) connection: Option<ConnectionId>,
    pub(super) types: Vec<String>,
    pub(super) frames: Vec<Frame>,
    pub(super) rows: RowTable,
}

impl Footer {
    /// The connection whose record this is, where the writer said so.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// The frames, in the order of the file.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The type of the resources in `frame`, one of [`Footer::frames`].
    #[must_use]
    pub fn frame_type(&self, frame: &Frame) -> &str {
        &self.types[usize::from(frame.type_index)]
    }

    /// How many rows there are, tombstones included.
    #[must_use]
    pub fn row_count(&self) -> u32 {
        // Bounded by FOOTER_RAW_BYTES_MAX.
        self.rows.rows.len() as u32
    }

    /// Row number `row`, below [`Footer::row_count`].
    #[must_use]
    pub fn row(&self, row: u32) -> RowRef<'_> {
        self.rows.get(&self.types, row as usize)
    }

    /// Type and id of row number `row`.
    pub(crate) fn key(&self, row: u32) -> (&str, &str) {
        let type_index = self.rows.rows[row as usize].type_index;
        (
            &self.types[usize::from(type_index)],
            self.rows.id(row as usize),
        )
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> {
        (0..self.rows.rows.len()).map(|row| self.rows.get(&self.types, row))
    }

    /// Where the text of row number `row` lies; `None` for a tombstone.
    #[must_use]
    pub fn location(&self, row: u32) -> Option<Location> {
        let Row {
            frame,
            offset,
            length,
            ..
        } = self.rows.rows[row as usize];
        (frame != NO_FRAME).then_some(Location {
            frame,
            offset,
            length,
        })
    }

    /// The skippable frame that ends the file.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let raw = body::encode(self)?;
        let raw_bytes = raw.len() as u64;
        if raw_bytes > FOOTER_RAW_BYTES_MAX {
            return Err(footer_too_large(raw_bytes));
        }
        let body = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(|_| Error::Invalid {
            what: "zstd has no memory",
        })?;
        let mut out = Vec::with_capacity(body.len() + TRAILER + 8);
        out.extend(SKIPPABLE_MAGIC.to_le_bytes());
        out.extend(((body.len() + TRAILER) as u32).to_le_bytes());
        out.extend(&body);
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(raw_bytes.to_le_bytes());
        out.extend(xxh3_64(&body).to_le_bytes());
        out.extend(SEGMENT_VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(MAGIC);
        Ok(out)
    }
}

/// The fixed end of the file, which says where the footer begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trailer {
    body_bytes: u32,
    raw_bytes: u64,
    checksum: u64,
    /// Where the skippable frame begins in the file.
    pub(super) start: u64,
}

impl Trailer {
    /// Reads it from the last bytes of an object of `size_bytes`.
    pub(super) fn parse(object: &str, size_bytes: u64, last: &[u8]) -> Result<Self, Error> {
        let corrupt = |what| Error::corrupt(object, what);
        let last: &[u8; TRAILER] = last
            .last_chunk()
            .ok_or_else(|| corrupt("it is too short for a segment"))?;
        if last[24..] != MAGIC {
            return Err(corrupt("it does not end as a segment does"));
        }
        let version = u16::from_le_bytes([last[20], last[21]]);
        if version != SEGMENT_VERSION {
            return Err(Error::UnsupportedVersion {
                object: object.to_owned(),
                version,
                version_max: SEGMENT_VERSION,
            });
        }
        if last[22..24] != [0; 2] {
            return Err(corrupt("a reserved byte of the trailer is set"));
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| last[at + i]));
        let body_bytes = u32::from_le_bytes([last[0], last[1], last[2], last[3]]);
        let (raw_bytes, checksum) = (number(4), number(12));
        if raw_bytes > FOOTER_RAW_BYTES_MAX || !is_plausible(body_bytes.into(), raw_bytes) {
            return Err(corrupt("its footer claims an impossible size"));
        }
        let frame_bytes = u64::from(body_bytes) + TRAILER as u64 + SKIPPABLE_HEADER;
        let start = size_bytes
            .checked_sub(frame_bytes)
            .ok_or_else(|| corrupt("its footer is longer than itself"))?;
        Ok(Self {
            body_bytes,
            raw_bytes,
            checksum,
            start,
        })
    }

    /// Reads the footer from `skippable`, the bytes from `start` to the end.
    pub(super) fn read_footer(&self, object: &str, skippable: &[u8]) -> Result<Footer, Error> {
        let corrupt = |what| Error::corrupt(object, what);
        let body_bytes = self.body_bytes as usize;
        let (header, rest) = skippable
            .split_first_chunk::<8>()
            .ok_or_else(|| corrupt("it is cut short"))?;
        let length = (body_bytes as u64 + TRAILER as u64) as u32;
        if header[..4] != SKIPPABLE_MAGIC.to_le_bytes() || header[4..] != length.to_le_bytes() {
            return Err(corrupt("its footer is not in a skippable frame"));
        }
        let body = rest
            .get(..body_bytes)
            .ok_or_else(|| corrupt("it is cut short"))?;
        if xxh3_64(body) != self.checksum {
            return Err(corrupt("the checksum of its footer is wrong"));
        }
        let raw_bytes = usize::try_from(self.raw_bytes)
            .map_err(|_| corrupt("its footer claims an impossible size"))?;
        let raw = zstd::bulk::decompress(body, raw_bytes)
            .map_err(|_| corrupt("its footer does not decompress"))?;
        if raw.len() != raw_bytes {
            return Err(corrupt("its footer has not the size it claims"));
        }
        body::decode(&raw, self.start).map_err(corrupt)
    }
}

//! Reading a segment: from bytes at hand, or from the store, footer first and
//! frames as they are asked for.

use std::ops::Range;

use bytes::Bytes;
use model::{RowMeta, content_hash, read_head};
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::xxh3_64;

use crate::segment::footer::{Footer, Frame, Trailer};
use crate::{Error, Store};

/// The first read of an object is of its last 64 KiB: the footer of some 1,500
/// rows, and the whole of most batches.
const TAIL_BYTES: u64 = 64 << 10;

/// An object up to this size (1 MiB) is read whole for its first frame: a few
/// frames cost more in round trips than in bytes. Larger ones are read by frame.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// A segment whose bytes are at hand.
#[derive(Debug, Clone)]
pub struct Segment {
    object: String,
    bytes: Bytes,
    footer: Footer,
}

impl Segment {
    /// Reads the footer of `bytes`, the object named `object`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::UnsupportedVersion`].
    pub fn parse(object: &str, bytes: Bytes) -> Result<Self, Error> {
        let trailer = Trailer::parse(object, bytes.len() as u64, &bytes)?;
        let footer = trailer.read_footer(object, &bytes[trailer.start as usize..])?;
        Ok(Self {
            object: object.to_owned(),
            bytes,
            footer,
        })
    }

    /// What the segment holds.
    #[must_use]
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = RowMeta> {
        self.footer.rows().map(|row| row.to_meta())
    }

    /// The raw text of frame number `frame`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Invalid`] where there is no such frame.
    pub fn read_frame(&self, frame: usize) -> Result<Bytes, Error> {
        let frame = frame_at(&self.footer, frame)?;
        let bytes = self.bytes.slice(range_of(&frame));
        check(&self.object, &frame, &bytes)?;
        decompress(&self.object, &self.footer, &frame, &bytes)
    }

    /// The text of row number `row`; `None` for a tombstone.
    ///
    /// # Errors
    /// As [`Segment::read_frame`].
    pub fn text(&self, row: u32) -> Result<Option<Bytes>, Error> {
        if row >= self.footer.row_count() {
            return Err(Error::Invalid {
                what: "a segment has no such row",
            });
        }
        let Some(location) = self.footer.location(row) else {
            return Ok(None);
        };
        let text = self.read_frame(location.frame as usize)?;
        Ok(Some(slice(&text, location.offset, location.length)))
    }

    /// Reads every frame and compares every text with its row: see
    /// [`SegmentReader::rehash`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn rehash(&self) -> Result<u64, Error> {
        for frame in 0..self.footer.frames().len() {
            rehash_frame(&self.object, &self.footer, frame, &self.read_frame(frame)?)?;
        }
        Ok(self.footer.row_count().into())
    }
}

/// A segment in the store.
#[derive(Debug)]
pub struct SegmentReader {
    store: Store,
    object: String,
    size_bytes: u64,
    footer: Footer,
    whole: OnceCell<Bytes>,
}

impl SegmentReader {
    /// Reads the footer of the object named `object`: one request, two where the
    /// footer is larger than 64 KiB.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::UnsupportedVersion`], and
    /// what the store says.
    pub async fn open(store: &Store, object: &str) -> Result<Self, Error> {
        let (mut tail, size_bytes) = store.get_tail(object, TAIL_BYTES).await?;
        let trailer = Trailer::parse(object, size_bytes, &tail)?;
        let mut tail_start = size_bytes.saturating_sub(tail.len() as u64);
        if trailer.start < tail_start {
            tail = store.get_range(object, trailer.start..size_bytes).await?;
            tail_start = trailer.start;
        }
        let footer = trailer.read_footer(object, &tail[(trailer.start - tail_start) as usize..])?;
        let whole = OnceCell::new();
        if tail_start == 0 {
            whole.set(tail).ok();
        }
        Ok(Self {
            store: store.clone(),
            object: object.to_owned(),
            size_bytes,
            footer,
            whole,
        })
    }

    /// The name of the object.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The size of the object.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What the segment holds.
    #[must_use]
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = RowMeta> {
        self.footer.rows().map(|row| row.to_meta())
    }

    /// Reads the frames of an object of up to `size_bytes_max` in one request and
    /// keeps them until [`SegmentReader::unload`].
    pub(crate) async fn load(&self, size_bytes_max: u64) -> Result<(), Error> {
        if self.size_bytes <= size_bytes_max {
            self.whole
                .get_or_try_init(|| self.store.get(&self.object))
                .await?;
        }
        Ok(())
    }

    /// Lets go of the bytes read by [`SegmentReader::load`].
    pub(crate) fn unload(&mut self) {
        self.whole.take();
    }

    /// The compressed bytes of frame number `frame`, checked.
    ///
    /// # Errors
    /// As [`SegmentReader::read_frame`].
    pub async fn compressed_frame(&self, frame: usize) -> Result<Bytes, Error> {
        let frame = frame_at(&self.footer, frame)?;
        self.load(WHOLE_BYTES_MAX).await?;
        let bytes = match self.whole.get() {
            // The object may have been replaced by a shorter one since.
            Some(whole) if whole.len() as u64 == self.size_bytes => whole.slice(range_of(&frame)),
            Some(_) => {
                return Err(Error::corrupt(
                    &self.object,
                    "its size changed while it was read",
                ));
            }
            None => {
                let end = frame.offset + u64::from(frame.size_bytes);
                self.store
                    .get_range(&self.object, frame.offset..end)
                    .await?
            }
        };
        check(&self.object, &frame, &bytes)?;
        Ok(bytes)
    }

    /// The raw text of frame number `frame`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Invalid`] where there is no such frame;
    /// [`Error::NotFound`], and what the store says.
    pub async fn read_frame(&self, frame: usize) -> Result<Bytes, Error> {
        let bytes = self.compressed_frame(frame).await?;
        self.decompress(frame, &bytes)
    }

    /// The raw text of frame number `frame`, whose bytes are `compressed`.
    pub(crate) fn decompress(&self, frame: usize, compressed: &Bytes) -> Result<Bytes, Error> {
        decompress(
            &self.object,
            &self.footer,
            &frame_at(&self.footer, frame)?,
            compressed,
        )
    }

    /// The text of row number `row`; `None` for a tombstone.
    ///
    /// # Errors
    /// As [`SegmentReader::read_frame`].
    pub async fn text(&self, row: u32) -> Result<Option<Bytes>, Error> {
        if row >= self.footer.row_count() {
            return Err(Error::Invalid {
                what: "a segment has no such row",
            });
        }
        let Some(location) = self.footer.location(row) else {
            return Ok(None);
        };
        let text = self.read_frame(location.frame as usize).await?;
        Ok(Some(slice(&text, location.offset, location.length)))
    }

    /// Reads every frame and compares every text with its row: type, id and
    /// content hash. Returns the number of rows.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NotFound`], and what the store says.
    pub async fn rehash(&self) -> Result<u64, Error> {
        for frame in 0..self.footer.frames().len() {
            rehash_frame(
                &self.object,
                &self.footer,
                frame,
                &self.read_frame(frame).await?,
            )?;
        }
        Ok(self.footer.row_count().into())
    }
}

/// The rows of frame number `frame` of `footer`, with their texts, which are
/// slices of `text`, the raw text of that frame.
pub fn frame_texts<'a>(
    footer: &'a Footer,
    frame: usize,
    text: &'a Bytes,
) -> impl Iterator<Item = (u32, Bytes)> + 'a {
    let rows = footer.frames().get(frame).map_or(0..0, |frame| {
        frame.first_row..frame.first_row + frame.row_count
    });
    rows.filter_map(move |row| {
        let location = footer.location(row)?;
        Some((row, slice(text, location.offset, location.length)))
    })
}

fn frame_at(footer: &Footer, frame: usize) -> Result<Frame, Error> {
    footer.frames().get(frame).copied().ok_or(Error::Invalid {
        what: "a segment has no such frame",
    })
}

fn range_of(frame: &Frame) -> Range<usize> {
    frame.offset as usize..frame.offset as usize + frame.size_bytes as usize
}

pub(crate) fn slice(text: &Bytes, offset: u32, length: u32) -> Bytes {
    text.slice(offset as usize..offset as usize + length as usize)
}

fn check(object: &str, frame: &Frame, compressed: &Bytes) -> Result<(), Error> {
    if compressed.len() == frame.size_bytes as usize && xxh3_64(compressed) == frame.checksum {
        Ok(())
    } else {
        Err(Error::corrupt(object, "the checksum of a frame is wrong"))
    }
}

/// Decompresses a frame and checks that its rows are whole lines.
fn decompress(
    object: &str,
    footer: &Footer,
    frame: &Frame,
    compressed: &Bytes,
) -> Result<Bytes, Error> {
    let raw_bytes = frame.raw_bytes as usize;
    let text = zstd::bulk::decompress(compressed, raw_bytes)
        .map_err(|_| Error::corrupt(object, "a frame does not decompress"))?;
    if text.len() != raw_bytes {
        return Err(Error::corrupt(object, "a frame has not the size it claims"));
    }
    for row in frame.first_row..frame.first_row + frame.row_count {
        let Some(location) = footer.location(row) else {
            continue;
        };
        let (start, end) = (
            location.offset as usize,
            location.offset as usize + location.length as usize,
        );
        let starts_line = start == 0 || text.get(start - 1) == Some(&b'\n');
        if !starts_line || text.get(end) != Some(&b'\n') {
            return Err(Error::corrupt(object, "a row is not a line of its frame"));
        }
    }
    Ok(text.into())
}

fn rehash_frame(object: &str, footer: &Footer, frame: usize, text: &Bytes) -> Result<(), Error> {
    for (row, text) in frame_texts(footer, frame, text) {
        let row = footer.row(row);
        if content_hash(&text) != row.content_hash {
            return Err(Error::corrupt(object, "the content hash of a row is wrong"));
        }
        let is_named = read_head(&text)
            .is_ok_and(|head| head.resource_type == row.resource_type && head.id == row.id);
        if !is_named {
            return Err(Error::corrupt(
                object,
                "a row names another resource than its text",
            ));
        }
    }
    Ok(())
}

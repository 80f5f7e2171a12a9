//! Compressing frame after frame, in buffers that are mapped once.

use bytes::Bytes;

use crate::Error;
use crate::segment::{FRAME_RAW_BYTES, ZSTD_LEVEL};

/// Compresses frames, and keeps the buffers of the last one for the next.
pub(super) struct FrameCompressor {
    zstd: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    text: Vec<u8>,
}

impl FrameCompressor {
    pub(super) fn new() -> Result<Self, Error> {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|_| NO_MEMORY)?;
        Ok(Self {
            zstd,
            compressed: Vec::new(),
            text: Vec::new(),
        })
    }

    /// An empty buffer for the text of a frame.
    pub(super) fn text_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// Compresses the text of a frame.
    pub(super) fn compress(&mut self, mut text: Vec<u8>) -> Result<Bytes, Error> {
        let bound = zstd::zstd_safe::compress_bound(text.len());
        self.compressed.clear();
        self.compressed.reserve(bound);
        self.zstd
            .compress_to_buffer(&text, &mut self.compressed)
            .map_err(|_| NO_MEMORY)?;
        let compressed = Bytes::copy_from_slice(&self.compressed);
        // One resource that is larger than a frame must not be remembered in memory.
        if text.capacity() > 2 * FRAME_RAW_BYTES {
            self.compressed = Vec::new();
        } else {
            text.clear();
            self.text = text;
        }
        Ok(compressed)
    }
}

const NO_MEMORY: Error = Error::Invalid {
    what: "zstd has no memory",
};

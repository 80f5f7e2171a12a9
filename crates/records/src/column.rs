//! Columns of varints (LEB128, as postcard writes integers), kept as byte strings
//! so that decoding them allocates nothing that the row count does not justify;
//! and the checks on compressed sizes.

use std::collections::BTreeSet;

use model::is_resource_type;

/// zstd's densest block, a run of one byte, makes 128 KiB of 4 bytes: nothing
/// that zstd wrote claims more than this many bytes for one.
const ZSTD_RATIO_MAX: u64 = 32 * 1024;

/// Whether zstd data of `size_bytes` can hold `raw_bytes`. Checked before
/// anything is allocated, so that a small forged file cannot ask for much.
pub(crate) fn is_plausible(size_bytes: u64, raw_bytes: u64) -> bool {
    raw_bytes <= size_bytes.saturating_mul(ZSTD_RATIO_MAX)
}

/// Appends one value.
pub(crate) fn put(column: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        column.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    column.push(value as u8);
}

/// Appends a signed value, zigzag.
pub(crate) fn put_signed(column: &mut Vec<u8>, value: i64) {
    put(column, ((value << 1) ^ (value >> 63)) as u64);
}

/// A column being read. Every reader returns `None` at the end or on a malformed
/// value.
pub(crate) struct Column<'a>(pub(crate) &'a [u8]);

impl Column<'_> {
    pub(crate) fn u64(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.u64()?.try_into().ok()
    }

    /// An index into a table of `count` entries.
    pub(crate) fn index(&mut self, count: usize) -> Option<u16> {
        u16::try_from(self.u64()?)
            .ok()
            .filter(|index| usize::from(*index) < count)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        let value = self.u64()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A column of texts being read: lengths, and the texts behind one another.
pub(crate) struct TextEnds<'a> {
    lengths: Column<'a>,
    text: &'a str,
    at: usize,
}

impl<'a> TextEnds<'a> {
    pub(crate) fn new(lengths: &'a [u8], text: &'a str) -> Self {
        Self {
            lengths: Column(lengths),
            text,
            at: 0,
        }
    }

    /// The end of the next text.
    pub(crate) fn next_end(&mut self) -> Option<u32> {
        let length = self.lengths.u32()?;
        self.advance(length)
    }

    /// The end of the next text and whether there is one: lengths are one more
    /// than the text's, 0 for none.
    pub(crate) fn next_optional_end(&mut self) -> Option<(u32, bool)> {
        let length = self.lengths.u32()?;
        Some((self.advance(length.saturating_sub(1))?, length > 0))
    }

    fn advance(&mut self, length: u32) -> Option<u32> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        if !self.text.is_char_boundary(end) {
            return None;
        }
        self.at = end;
        u32::try_from(end).ok()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lengths.is_empty() && self.at == self.text.len()
    }
}

/// The resource types of a dictionary, joined by `/`.
pub(crate) fn decode_types(joined: &str) -> Result<Vec<String>, &'static str> {
    let mut seen = BTreeSet::new();
    let names = joined.split('/').filter(|_| !joined.is_empty());
    for name in names.clone() {
        if !is_resource_type(name) {
            return Err("it names an illegal resource type");
        }
        if !seen.insert(name) || seen.len() > usize::from(u16::MAX) {
            return Err("it names a resource type twice");
        }
    }
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let values = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut column = Vec::new();
        for value in values {
            put(&mut column, value);
            put_signed(&mut column, value as i64);
        }
        let mut read = Column(&column);
        for value in values {
            assert_eq!((read.u64(), read.i64()), (Some(value), Some(value as i64)));
        }
        assert!(read.is_empty() && read.u64().is_none());
        assert_eq!(Column(&[0xff; 10]).u64(), None);
        assert_eq!(Column(&[0x80]).u64(), None);
    }
}

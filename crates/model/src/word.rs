//! Bytes looked at eight at a time, in one word, little end first.
//!
//! A mask has the high bit of each byte that is meant. Above the lowest such byte it
//! may have others too, so only the lowest counts.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES * 0x80;

/// The eight bytes at `at`; none where the text has fewer.
pub(crate) fn load(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?
        .first_chunk()
        .map(|word| u64::from_le_bytes(*word))
}

/// The first byte from `at` on that `mask` means; or a later place before which there
/// is none, since the last few bytes of a text make no word.
pub(crate) fn find(text: &[u8], at: usize, mask: impl Fn(u64) -> u64) -> usize {
    let (words, _) = text.get(at..).unwrap_or_default().as_chunks();
    let mut place = at;
    for word in words {
        let found = mask(u64::from_le_bytes(*word));
        if found != 0 {
            return place + lowest(found);
        }
        place += size_of::<u64>();
    }
    place
}

/// The bytes that end a piece of a string: `"` and `\`.
pub(crate) fn quotes(word: u64) -> u64 {
    (zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')))) & HIGHS
}

/// The bytes that no string may hold: those below the space.
pub(crate) fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// Which byte of the word the lowest of the mask is.
fn lowest(mask: u64) -> usize {
    mask.trailing_zeros() as usize / 8
}

fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_byte_is_found_wherever_it_lies() {
        for byte in 0..=u8::MAX {
            for fill in [b' ', b'!', b'#', b'[', b']', b'a', 0x80, 0xff] {
                for at in 1..17 {
                    let mut bytes = [fill; 17];
                    bytes[at] = byte;
                    let expected = |is: bool| if is { at } else { 17 };
                    let is_quote = matches!(byte, b'"' | b'\\');
                    assert_eq!(find(&bytes, 1, quotes), expected(is_quote));
                    assert_eq!(find(&bytes, 1, controls), expected(byte < 0x20));
                }
            }
        }
        assert_eq!(find(b"1234567\"1", 0, quotes), 7);
        assert_eq!(find(b"12345678\"", 0, quotes), 8);
        assert_eq!((find(b"\"", 0, quotes), find(b"\"", 2, quotes)), (0, 2));
        assert_eq!((load(b"1234567", 0), load(b"12345678", 9)), (None, None));
    }
}

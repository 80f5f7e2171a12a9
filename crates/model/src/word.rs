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

/// The bytes that end a piece of a string: `"` and `\`.
pub(crate) fn quotes(word: u64) -> u64 {
    (zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')))) & HIGHS
}

/// The bytes that no string may hold: those below the space.
pub(crate) fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// Which byte of the word the lowest of the mask is.
pub(crate) fn lowest(mask: u64) -> usize {
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
                for at in 0..8 {
                    let mut bytes = [fill; 8];
                    bytes[at] = byte;
                    let word = load(&bytes, 0).unwrap();
                    let found = |mask: u64| (mask != 0).then(|| lowest(mask));
                    let expected = |is: bool| is.then_some(at);
                    assert_eq!(found(quotes(word)), expected(matches!(byte, b'"' | b'\\')));
                    assert_eq!(found(controls(word)), expected(byte < 0x20));
                }
            }
        }
        assert_eq!((load(b"1234567", 0), load(b"12345678", 9)), (None, None));
    }
}

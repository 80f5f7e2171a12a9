//! One walk over compact JSON text that finds out everything at once: whether it is
//! JSON, where its parts lie, and whether anything about them is unusual.
//!
//! Invariant: what a walk comes past is JSON (RFC 8259). It may refuse text or call it
//! unusual that is neither, and leaves such text to the exact rules (`read_head`,
//! `check_sound`, salvage of a page); it never does the reverse.

mod resource;
#[cfg(test)]
mod tests;

pub use resource::Found;

use crate::sound::DEPTH_MAX;
use crate::word;

/// The members of an object are compared each with each up to this many; more are
/// unusual.
const MEMBERS_MAX: usize = 32;

/// A walk over a text. Every step returns `None` where the text is not what was
/// expected; the walk is over then, and stands at what it could not take.
pub struct Walk<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// What the keys of all open objects are compared by.
    tags: Vec<u64>,
    /// How many escapes have been met.
    escapes: usize,
    is_unusual: bool,
}

impl<'a> Walk<'a> {
    /// A walk from the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            tags: Vec::with_capacity(4 * MEMBERS_MAX),
            escapes: 0,
            is_unusual: false,
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Whether the walk stands at whitespace between tokens, which it does not take.
    #[must_use]
    pub fn is_at_space(&self) -> bool {
        matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t'))
    }

    /// The next byte.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Comes past an object: `member` past each value, given its key as it is written.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.enter(b'{')?;
        if self.take(b'}').is_some() {
            self.depth -= 1;
            return Some(());
        }
        let first_tag = self.tags.len();
        loop {
            let key = self.key(first_tag)?;
            self.take(b':')?;
            member(self, key)?;
            if self.take(b',').is_none() {
                break;
            }
        }
        self.take(b'}')?;
        self.depth -= 1;
        self.tags.truncate(first_tag);
        Some(())
    }

    /// Comes past an array: `element` past each element.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.enter(b'[')?;
        if self.take(b']').is_some() {
            self.depth -= 1;
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(b',').is_none() {
                break;
            }
        }
        self.take(b']')?;
        self.depth -= 1;
        Some(())
    }

    /// Comes past any value and returns its text.
    pub fn value(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.skip()?;
        self.text.get(start..self.at)
    }

    /// Comes past any value.
    pub fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' => self.object(|walk, _| walk.skip()),
            b'[' => self.array(Self::skip),
            b't' => self.skip_word("true"),
            b'f' => self.skip_word("false"),
            b'n' => self.skip_word("null"),
            _ => self.skip_number(),
        }
    }

    /// Comes past a string and returns what is between its quotes, escapes and all.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        self.skip_string()?;
        self.text.get(start..self.at - 1)
    }

    fn skip_string(&mut self) -> Option<()> {
        self.take(b'"')?;
        let text = self.text.as_bytes();
        let mut at = self.at;
        loop {
            at = word::find(text, at, |word| word::quotes(word) | word::controls(word));
            match *text.get(at)? {
                b'"' => break,
                b'\\' => at = self.escape_end(at)?,
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(())
    }

    /// The position after the escape at `at`.
    #[cold]
    fn escape_end(&mut self, at: usize) -> Option<usize> {
        let text = self.text.as_bytes();
        self.escapes += 1;
        match text.get(at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
            b'u' => {
                let hex = text.get(at + 2..at + 6)?;
                // Half of a surrogate pair: whether the other is there, others look.
                self.is_unusual |= matches!(hex[0], b'd' | b'D') && !matches!(hex[1], b'0'..=b'7');
                hex.iter().all(u8::is_ascii_hexdigit).then_some(at + 6)
            }
            _ => None,
        }
    }

    fn skip_number(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = |from: usize| {
            let digits = rest.iter().skip(from);
            let count = digits.take_while(|byte| byte.is_ascii_digit()).count();
            (count > 0).then_some(count)
        };
        let mut end = usize::from(rest.first() == Some(&b'-'));
        // No digit follows a leading zero.
        end += match rest.get(end)? {
            b'0' => 1,
            _ => digits(end)?,
        };
        if rest.get(end) == Some(&b'.') {
            end += 1 + digits(end + 1)?;
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            end += 1 + usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            end += digits(end)?;
        }
        self.at += end;
        Some(())
    }

    fn skip_word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    fn enter(&mut self, bracket: u8) -> Option<()> {
        self.take(bracket)?;
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    /// Comes past a key, and compares it with those of its object so far by their tags:
    /// equal keys have equal ones. Where tags are equal, or keys could be that are not,
    /// it is unusual.
    fn key(&mut self, first_tag: usize) -> Option<&'a str> {
        let escapes = self.escapes;
        let key = self.string()?;
        let tag = tag_of(key.as_bytes());
        let before = &self.tags[first_tag..];
        self.is_unusual |=
            self.escapes > escapes || before.len() >= MEMBERS_MAX || before.contains(&tag);
        self.tags.push(tag);
        Some(key)
    }
}

/// A number that is the same for the same key, and seldom for another: made of its
/// length, its first and its last eight bytes.
fn tag_of(key: &[u8]) -> u64 {
    let Some(start) = word::load(key, 0) else {
        return key.iter().fold(0, |tag, byte| tag << 8 | u64::from(*byte));
    };
    let end = word::load(key, key.len() - 8).unwrap_or_default();
    start.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ end.rotate_left(32) ^ key.len() as u64
}

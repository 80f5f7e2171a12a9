//! A walk over the tokens of valid JSON text that keeps every token as it is: where
//! strings and values end, the members of an object, the elements of an array.
//!
//! Invariant: nothing here re-serialises. The input has been validated by a JSON
//! parser before; on other text the walk stops early and never panics.

use std::borrow::Cow;
use std::ops::Range;

use crate::word;

/// The position after the string that opens at `start`.
pub(crate) fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at = word::find(text, at, word::quotes);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The position after the value that begins at `start`, in compact text.
pub(crate) fn value_end(text: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match text.get(at) {
            Some(b'"') => at = string_end(text, at)?,
            Some(b'{' | b'[') => {
                depth += 1;
                at += 1;
                continue;
            }
            Some(b'}' | b']') if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            Some(b',' | b':') if depth > 0 => {
                at += 1;
                continue;
            }
            Some(b'}' | b']' | b',') | None => return (depth == 0 && at > start).then_some(at),
            Some(_) => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// One member of an object, as ranges of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Key and value.
    pub(crate) whole: Range<usize>,
    /// The key, with its quotes.
    pub(crate) key: Range<usize>,
    /// The value.
    pub(crate) value: Range<usize>,
}

/// The members of the object that begins at `start` of compact `text`; `None`
/// where there is no well-formed object.
pub(crate) fn members(text: &[u8], start: usize) -> Option<Vec<Member>> {
    let mut found = Vec::with_capacity(16);
    if text.get(start) != Some(&b'{') {
        return None;
    }
    let mut at = start + 1;
    if text.get(at) == Some(&b'}') {
        return Some(found);
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(text, at)?;
        if text.get(key_end) != Some(&b':') {
            return None;
        }
        let end = value_end(text, key_end + 1)?;
        found.push(Member {
            whole: at..end,
            key: at..key_end,
            value: key_end + 1..end,
        });
        match text.get(end)? {
            b',' => at = end + 1,
            b'}' => return Some(found),
            _ => return None,
        }
    }
}

/// The values of the members of the object that `text` is, with their names, escapes
/// resolved; `None` where its brackets do not match. `text` is compact and need not
/// be JSON beyond that.
#[must_use]
pub fn member_values(text: &[u8]) -> Option<Vec<(Cow<'_, str>, &[u8])>> {
    if value_end(text, 0)? != text.len() {
        return None;
    }
    members(text, 0)?
        .into_iter()
        .map(|member| Some((unescape(&text[member.key])?, &text[member.value])))
        .collect()
}

/// The value of the first member of this name of the object that `text` begins with.
pub(crate) fn member<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let found = members(text, 0)?
        .into_iter()
        .find(|member| key_is(text, &member.key, name))?;
    Some(&text[found.value])
}

/// The elements of the array that `text` is; as [`member_values`].
#[must_use]
pub fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    if text.first() != Some(&b'[') || value_end(text, 0)? != text.len() {
        return None;
    }
    let mut found = Vec::new();
    let mut at = 1;
    if text.get(at) == Some(&b']') {
        return Some(found);
    }
    loop {
        let end = value_end(text, at)?;
        found.push(&text[at..end]);
        match text.get(end)? {
            b',' => at = end + 1,
            b']' => return Some(found),
            _ => return None,
        }
    }
}

/// Whether the quoted key at `key` spells `name`, escapes resolved.
pub(crate) fn key_is(text: &[u8], key: &Range<usize>, name: &str) -> bool {
    let quoted = &text[key.clone()];
    let inner = &quoted[1..quoted.len() - 1];
    inner == name.as_bytes()
        || (inner.contains(&b'\\') && unescape(quoted).is_some_and(|key| key == name))
}

/// The text a JSON string token stands for.
pub(crate) fn unescape(quoted: &[u8]) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        serde_json::from_slice::<String>(quoted)
            .ok()
            .map(Cow::Owned)
    } else {
        std::str::from_utf8(inner).ok().map(Cow::Borrowed)
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_their_brackets_alone() {
        let values = member_values(br#"{"a":{"b":1,},"\u0063":[{],}],"d":"}"}"#);
        assert_eq!(values, None);
        let values = member_values(br#"{"a":{"b":1,},"\u0063":[{,}],"d":"}"}"#).unwrap();
        let shown: Vec<(&str, &[u8])> = values.iter().map(|(k, v)| (k.as_ref(), *v)).collect();
        assert_eq!(
            shown,
            [
                ("a", br#"{"b":1,}"#.as_slice()),
                ("c", b"[{,}]"),
                ("d", br#""}""#)
            ]
        );
        assert_eq!(
            elements(br#"[{"a":1,},2,"x,"]"#).unwrap(),
            [br#"{"a":1,}"#.as_slice(), b"2", br#""x,""#]
        );
        assert_eq!(elements(b"[]").unwrap(), Vec::<&[u8]>::new());
        for broken in ["[1,2", "[1,,2]", "{}", "", "[1]]"] {
            assert_eq!(elements(broken.as_bytes()), None, "{broken}");
        }
        assert_eq!(member_values(b"{} {}"), None);
    }
}

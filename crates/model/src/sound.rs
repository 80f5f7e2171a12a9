//! Whether a resource's text can be passed on: readers of JSON disagree about
//! objects that name a member twice, about halves of surrogate pairs and about very
//! deep nesting, so a resource with one of these is set aside.

use std::borrow::Cow;

use crate::json::{string_end, unescape};
use crate::resource::RejectReason;

/// Objects and arrays within one another at most.
pub(crate) const DEPTH_MAX: usize = 100;
/// Up to so many members are compared each with each; more are sorted.
const COMPARED_MAX: usize = 16;

/// Walks the compact text of a resource, which is valid JSON.
///
/// # Errors
/// [`RejectReason::TooDeep`], [`RejectReason::DuplicateKey`] and
/// [`RejectReason::LoneSurrogate`].
pub fn check_sound(text: &[u8]) -> Result<(), RejectReason> {
    check_surrogates(text)?;
    let mut keys: Vec<Cow<'_, [u8]>> = Vec::new();
    // Where the keys of each open object begin; none for an array.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut expects_key = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = string_end(text, at).map_or(text.len(), |end| end.min(text.len()));
                if expects_key {
                    keys.push(key(&text[at..end]));
                    expects_key = false;
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                if open.len() == DEPTH_MAX {
                    return Err(RejectReason::TooDeep);
                }
                expects_key = byte == b'{';
                open.push(expects_key.then_some(keys.len()));
            }
            b'}' | b']' => {
                expects_key = false;
                if let Some(Some(from)) = open.pop() {
                    check_keys(&mut keys[from..])?;
                    keys.truncate(from);
                }
            }
            b',' => expects_key = matches!(open.last(), Some(Some(_))),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The text of a quoted key.
fn key(quoted: &[u8]) -> Cow<'_, [u8]> {
    let inner = quoted.get(1..quoted.len().max(2) - 1).unwrap_or_default();
    if inner.contains(&b'\\')
        && let Some(text) = unescape(quoted)
    {
        return Cow::Owned(text.into_owned().into_bytes());
    }
    Cow::Borrowed(inner)
}

fn check_keys(keys: &mut [Cow<'_, [u8]>]) -> Result<(), RejectReason> {
    let has_twin = if keys.len() <= COMPARED_MAX {
        (1..keys.len()).any(|at| keys[..at].contains(&keys[at]))
    } else {
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    };
    if has_twin {
        Err(RejectReason::DuplicateKey)
    } else {
        Ok(())
    }
}

fn check_surrogates(text: &[u8]) -> Result<(), RejectReason> {
    let mut after_pair = 0;
    for at in memchr::memmem::find_iter(text, b"\\u") {
        let backslashes = text[..at]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if !backslashes.is_multiple_of(2) || at < after_pair {
            continue;
        }
        match escaped(text, at) {
            Some(0xD800..=0xDBFF) => {
                if !matches!(escaped(text, at + 6), Some(0xDC00..=0xDFFF)) {
                    return Err(RejectReason::LoneSurrogate);
                }
                after_pair = at + 12;
            }
            Some(0xDC00..=0xDFFF) => return Err(RejectReason::LoneSurrogate),
            _ => {}
        }
    }
    Ok(())
}

/// The code unit of the escape at `at`.
fn escaped(text: &[u8], at: usize) -> Option<u16> {
    let hex = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_disagree_about_is_found() {
        use RejectReason::{DuplicateKey, LoneSurrogate};
        for (text, expected) in [
            (
                r#"{"a":1,"b":{"a":[{"a":"a"},{"a":2}]},"c":",\"a\":"}"#,
                Ok(()),
            ),
            (r#"{"a":"{","b":["}","a","a"]}"#, Ok(())),
            (r#"{"a":1,"b":2,"a":3}"#, Err(DuplicateKey)),
            (r#"{"x":[1,{"a":1,"\u0061":2}]}"#, Err(DuplicateKey)),
            (r#"{"x":{},"x":{}}"#, Err(DuplicateKey)),
            (r#"{"x":"\ud83d\ude00 \\ud800 \u00e9 \"\u0041"}"#, Ok(())),
            (r#"{"x":"\ud800"}"#, Err(LoneSurrogate)),
            (r#"{"x":"\ud800\ud800\udc00"}"#, Err(LoneSurrogate)),
            (r#"{"x":"\uDC00\ud800"}"#, Err(LoneSurrogate)),
            (r#"{"x":"\\\udc00"}"#, Err(LoneSurrogate)),
            (r#"{"\ud800":1}"#, Err(LoneSurrogate)),
            ("{}", Ok(())),
            ("", Ok(())),
        ] {
            assert_eq!(check_sound(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_large_object_is_sorted_and_depth_is_bounded() {
        let members: Vec<String> = (0..50_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let mut large = members.join(",");
        assert_eq!(check_sound(format!("{{{large}}}").as_bytes()), Ok(()));
        large += ",\"k4711\":0";
        let twin = check_sound(format!("{{{large}}}").as_bytes());
        assert_eq!(twin, Err(RejectReason::DuplicateKey));
        let nested = |depth: usize| {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            check_sound(text.as_bytes())
        };
        assert_eq!(nested(DEPTH_MAX), Ok(()));
        assert_eq!(nested(DEPTH_MAX + 1), Err(RejectReason::TooDeep));
        assert_eq!(nested(200_000), Err(RejectReason::TooDeep));
    }

    /// On text that is no JSON the walk ends and does not panic.
    #[test]
    fn broken_text_is_no_danger() {
        let text = br#"{"a":["\u00e9",{"b":"c\\"}],"d":1.5}"#;
        for end in 0..text.len() {
            let _ = check_sound(&text[..end]);
            let _ = check_sound(&text[end..]);
        }
        let _ = check_sound(b"\"");
        let _ = check_sound(b"{\"");
        let _ = check_sound(b"{\"\\");
    }
}

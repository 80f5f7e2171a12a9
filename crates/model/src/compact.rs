//! Compacting: JSON text without the whitespace between its tokens, every token as it is.

use std::borrow::Cow;

use crate::json::string_end;

/// Drops the whitespace between tokens; strings stay as they are. Borrows where
/// there was none.
///
/// In text that is no JSON a space stays where two words or numbers would become one:
/// `1 2` must not become a number.
///
/// ```
/// # use chartlift_model::compact;
/// assert_eq!(compact(b"{ \"a b\" : [1.10, 2] }").as_ref(), b"{\"a b\":[1.10,2]}");
/// ```
#[must_use]
pub fn compact(text: &[u8]) -> Cow<'_, [u8]> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let mut out: Option<Vec<u8>> = None;
    let mut kept = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'"' {
            at = string_end(text, at).unwrap_or(text.len()).min(text.len());
        } else if is_space(text[at]) {
            let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
            out.extend_from_slice(&text[kept..at]);
            while at < text.len() && is_space(text[at]) {
                at += 1;
            }
            kept = at;
            if out.last().is_some_and(is_in_word) && text.get(at).is_some_and(is_in_word) {
                out.push(b' ');
            }
        } else {
            at += 1;
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.extend_from_slice(&text[kept..]);
            Cow::Owned(out)
        }
    }
}

/// Whether a byte outside of strings belongs to a token of several.
fn is_in_word(byte: &u8) -> bool {
    !matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_keeps_every_token() {
        let text = "{\n  \"id\" : \"a b\\\" \\u2028\",\t\"n\":[ 1.10 , -0.0,1.0E-2 ],\"s\":\"\u{2028} x\" }";
        assert_eq!(
            compact(text.as_bytes()).as_ref(),
            "{\"id\":\"a b\\\" \\u2028\",\"n\":[1.10,-0.0,1.0E-2],\"s\":\"\u{2028} x\"}".as_bytes()
        );
        assert!(matches!(compact(b"{\"a\":\" \"}"), Cow::Borrowed(_)));
        assert_eq!(
            compact(b" [ 1\n 2 , tr ue , \"\" 3 ] ").as_ref(),
            b"[1 2,tr ue,\"\"3]"
        );
    }
}

//! A walk over the tokens of valid JSON text that keeps every token as it is:
//! compacting, the members of an object, the head, and references.
//!
//! Invariant: nothing here re-serialises. The input has been validated by a JSON
//! parser before; on other text the walk stops early and never panics.

use std::borrow::Cow;
use std::ops::Range;

use crate::resource::{Head, RejectReason, is_resource_type};
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

/// Reads the head of a compact resource.
///
/// # Errors
/// The reason why the text cannot be kept as a resource.
pub fn read_head(text: &[u8]) -> Result<Head, RejectReason> {
    let members = members(text, 0).ok_or(RejectReason::NotAnObject)?;
    let only = |name: &str, reason: RejectReason| {
        let mut named = members
            .iter()
            .filter(|member| key_is(text, &member.key, name));
        let first = named.next().ok_or(reason)?;
        if named.next().is_some() {
            return Err(reason);
        }
        unescape(&text[first.value.clone()]).ok_or(reason)
    };
    let resource_type = only("resourceType", RejectReason::ResourceType)?;
    if !is_resource_type(&resource_type) {
        return Err(RejectReason::ResourceType);
    }
    let id = only("id", RejectReason::Id)?;
    if id.is_empty() {
        return Err(RejectReason::Id);
    }
    let meta = members
        .iter()
        .find(|member| key_is(text, &member.key, "meta"));
    let meta_text = |name: &str| {
        let inner = self::members(text, meta?.value.start)?;
        let member = inner
            .into_iter()
            .find(|member| key_is(text, &member.key, name))?;
        unescape(&text[member.value]).map(Cow::into_owned)
    };
    Ok(Head {
        version_id: meta_text("versionId"),
        last_updated: meta_text("lastUpdated"),
        resource_type: resource_type.into_owned(),
        id: id.into_owned(),
    })
}

/// The values of all `Reference.reference` members of a compact resource, in
/// the order of the text, escapes resolved.
pub fn references(text: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    // In compact text these bytes begin a member and nothing else: inside a
    // string the quotes would be escaped.
    texts_behind(text, b"\"reference\":\"")
}

/// The values of all `questionnaire` members of a compact resource that are texts:
/// in a QuestionnaireResponse, the canonical URL of what was asked.
pub fn questionnaires(text: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    texts_behind(text, b"\"questionnaire\":\"")
}

/// The texts that follow `key`, which ends with the quote that opens them.
fn texts_behind<'a>(text: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = Cow<'a, str>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + find(&text[at..], key)? + key.len() - 1;
        let end = string_end(text, start).filter(|end| *end <= text.len())?;
        at = end;
        Some(unescape(&text[start..end]).unwrap_or_default())
    })
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
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

    #[test]
    fn head_reads_what_is_there_and_refuses_the_rest() {
        let head = read_head(
            br#"{"meta":{"versionId":"3","x":{"id":"no"}},"resourceType":"Patient","id":"a\"b"}"#,
        )
        .unwrap();
        assert_eq!(
            (
                head.id.as_str(),
                head.version_id.as_deref(),
                head.last_updated
            ),
            ("a\"b", Some("3"), None)
        );
        assert_eq!(read_head(br#"{"id":"1"}"#), Err(RejectReason::ResourceType));
        assert_eq!(
            read_head(br#"{"resourceType":"../x","id":"1"}"#),
            Err(RejectReason::ResourceType)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":""}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":"1","id":"2"}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":1}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(read_head(b"[1]"), Err(RejectReason::NotAnObject));
        assert_eq!(read_head(b"{\"a\":"), Err(RejectReason::NotAnObject));
    }

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

    #[test]
    fn references_are_members_not_words() {
        let text = br##"{"subject":{"reference":"Patient/1"},"note":"\"reference\":\"Patient/2\"","x":[{"reference":"#m"}]}"##;
        assert_eq!(references(text).collect::<Vec<_>>(), ["Patient/1", "#m"]);
    }
}

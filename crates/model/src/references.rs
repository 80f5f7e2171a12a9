//! What a resource refers to, found by the bytes that come before it.

use std::borrow::Cow;

use crate::json::{find, string_end, unescape};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_members_not_words() {
        let text = br##"{"subject":{"reference":"Patient/1"},"note":"\"reference\":\"Patient/2\"","x":[{"reference":"#m"}]}"##;
        assert_eq!(references(text).collect::<Vec<_>>(), ["Patient/1", "#m"]);
    }
}

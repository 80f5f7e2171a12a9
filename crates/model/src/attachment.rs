//! Attachments that a resource names by a URL, found in its text.

use std::borrow::Cow;

use crate::json::{elements, find, key_is, member, members, unescape};

/// The types whose attachments are looked for.
pub const ATTACHING_TYPES: [&str; 3] = ["DiagnosticReport", "DocumentReference", "Media"];

/// An attachment, as its resource tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRef<'a> {
    /// Where it lies, as the source wrote it.
    pub url: Cow<'a, str>,
    /// `contentType`.
    pub content_type: Option<Cow<'a, str>>,
    /// `size`, in bytes.
    pub size_bytes: Option<u64>,
    /// `hash`: SHA-1, in base64.
    pub sha1: Option<Cow<'a, str>>,
}

/// The attachments of a compact resource of one of [`ATTACHING_TYPES`] that have a URL
/// and whose bytes are not in the resource itself, in the order of the text.
///
/// ```
/// # use chartlift_model::attachments;
/// let text = br#"{"resourceType":"Media","content":{"url":"Binary/1"}}"#;
/// assert_eq!(attachments("Media", text)[0].url, "Binary/1");
/// ```
#[must_use]
pub fn attachments<'a>(resource_type: &str, text: &'a [u8]) -> Vec<AttachmentRef<'a>> {
    // Most have none, or their bytes in the text: nothing is taken apart for these.
    if find(text, b"\"url\":\"").is_none() {
        return Vec::new();
    }
    let found = match resource_type {
        "DocumentReference" => list(text, "content")
            .into_iter()
            .filter_map(|content| member(content, "attachment"))
            .collect(),
        "DiagnosticReport" => list(text, "presentedForm"),
        "Media" => member(text, "content").into_iter().collect(),
        _ => Vec::new(),
    };
    found.into_iter().filter_map(read).collect()
}

fn list<'a>(text: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    member(text, name).and_then(elements).unwrap_or_default()
}

fn read(attachment: &[u8]) -> Option<AttachmentRef<'_>> {
    let (mut url, mut content_type, mut size_bytes, mut sha1) = (None, None, None, None);
    for member in members(attachment, 0)? {
        let is = |name| key_is(attachment, &member.key, name);
        let value = &attachment[member.value.clone()];
        if is("url") {
            url = unescape(value);
        } else if is("contentType") {
            content_type = unescape(value);
        } else if is("size") {
            size_bytes = std::str::from_utf8(value).ok()?.parse().ok();
        } else if is("hash") {
            sha1 = unescape(value);
        } else if is("data") && unescape(value).is_some_and(|data| !data.is_empty()) {
            return None;
        }
    }
    Some(AttachmentRef {
        url: url?,
        content_type,
        size_bytes,
        sha1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(resource_type: &str, text: &str) -> Vec<String> {
        let found = attachments(resource_type, text.as_bytes());
        found.into_iter().map(|of| of.url.into_owned()).collect()
    }

    #[test]
    fn attachments_are_found_where_they_stand_in_each_type() {
        let document = r#"{"resourceType":"DocumentReference","meta":{"url":"no"},"content":[{"attachment":{"contentType":"application/pdf","url":"Binary\/1","size":7,"hash":"qvTG"}},{"attachment":{"url":"https://x.example/2"},"format":{"url":"no"}},{"format":{"url":"no"}}]}"#;
        assert_eq!(
            urls("DocumentReference", document),
            ["Binary/1", "https://x.example/2"]
        );
        let first = &attachments("DocumentReference", document.as_bytes())[0];
        assert_eq!(first.content_type.as_deref(), Some("application/pdf"));
        assert_eq!(first.size_bytes, Some(7));
        assert_eq!(first.sha1.as_deref(), Some("qvTG"));
        let report = r#"{"resourceType":"DiagnosticReport","presentedForm":[{"url":"Binary/3"},{"title":"x"}],"media":[{"link":{"url":"no"}}]}"#;
        assert_eq!(urls("DiagnosticReport", report), ["Binary/3"]);
        let media = r#"{"resourceType":"Media","content":{"url":"Binary/4","size":"7"}}"#;
        assert_eq!(urls("Media", media), ["Binary/4"]);
        assert!(urls("Observation", media).is_empty());
    }

    #[test]
    fn bytes_in_the_resource_need_no_fetching() {
        let both = r#"{"content":{"url":"Binary/1","data":"aGVsbG8="}}"#;
        assert!(urls("Media", both).is_empty());
        let empty = r#"{"content":{"url":"Binary/1","data":""}}"#;
        assert_eq!(urls("Media", empty), ["Binary/1"]);
        for odd in [
            r#"{"content":[{"url":"x"}]}"#,
            r#"{"content":{"url":7},"x":{"url":"y"}}"#,
            r#"{"content":"url","y":{"url":"x"}}"#,
            r#"{"content":{"url":"x""#,
        ] {
            assert!(urls("Media", odd).is_empty(), "{odd}");
        }
        for odd in [
            r#"{"content":{"attachment":{"url":"x"}}}"#,
            r#"{"content":[7,{"attachment":"url"},{"attachment":[{"url":"x"}]}]}"#,
        ] {
            assert!(urls("DocumentReference", odd).is_empty(), "{odd}");
        }
    }
}

//! The content hash: what decides whether a resource changed (I12).

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::json::{key_is, members};

/// SHA-256, cut to 128 bits, over a resource's compact text without
/// `meta.versionId`, `meta.lastUpdated`, and `meta` itself where that leaves it
/// empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content hash of a compact resource.
///
/// ```
/// # use chartlift_model::content_hash;
/// let pulled = content_hash(br#"{"id":"1","meta":{"versionId":"7"},"active":true}"#);
/// assert_eq!(pulled, content_hash(br#"{"id":"1","active":true}"#));
/// ```
#[must_use]
pub fn content_hash(text: &[u8]) -> ContentHash {
    let mut hasher = Sha256::new();
    match members(text, 0) {
        None => hasher.update(text),
        Some(top) => {
            let mut separator: &[u8] = b"{";
            for member in &top {
                if key_is(text, &member.key, "meta") {
                    hash_meta(&mut hasher, text, member, &mut separator);
                } else {
                    hasher.update(std::mem::replace(&mut separator, b","));
                    hasher.update(&text[member.whole.clone()]);
                }
            }
            if separator == b"{" {
                hasher.update(b"{");
            }
            hasher.update(b"}");
        }
    }
    cut(hasher)
}

/// The content hash of the resource that lies in `text` from `start` to its end, where
/// what it leaves out is known already: `cuts`, which do not overlap.
pub(crate) fn hash_without(text: &[u8], start: usize, mut cuts: [Range<usize>; 2]) -> ContentHash {
    cuts.sort_unstable_by_key(|cut| cut.start);
    let mut hasher = Sha256::new();
    let mut from = start;
    for cut in cuts {
        hasher.update(&text[from..cut.start]);
        from = cut.end;
    }
    hasher.update(&text[from..]);
    cut(hasher)
}

fn cut(hasher: Sha256) -> ContentHash {
    let digest = hasher.finalize();
    let mut cut = [0; 16];
    cut.copy_from_slice(&digest[..16]);
    ContentHash(cut)
}

/// Feeds the `meta` member without the server's version, or nothing of it.
fn hash_meta(
    hasher: &mut Sha256,
    text: &[u8],
    meta: &crate::json::Member,
    separator: &mut &'static [u8],
) {
    let Some(inner) = members(text, meta.value.start) else {
        hasher.update(std::mem::replace(separator, b","));
        hasher.update(&text[meta.whole.clone()]);
        return;
    };
    let volatile = |key| key_is(text, key, "versionId") || key_is(text, key, "lastUpdated");
    let mut kept = inner
        .iter()
        .filter(|member| !volatile(&member.key))
        .peekable();
    if kept.peek().is_none() {
        return;
    }
    hasher.update(std::mem::replace(separator, b","));
    hasher.update(&text[meta.key.clone()]);
    hasher.update(b":");
    let mut inner_separator: &[u8] = b"{";
    for member in kept {
        hasher.update(std::mem::replace(&mut inner_separator, b","));
        hasher.update(&text[member.whole.clone()]);
    }
    hasher.update(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> ContentHash {
        let mut cut = [0; 16];
        cut.copy_from_slice(&Sha256::digest(text)[..16]);
        ContentHash(cut)
    }

    #[test]
    fn the_servers_version_does_not_count() {
        let text = r#"{"resourceType":"X","meta":{"versionId":"1","profile":["p"],"lastUpdated":"2024"},"id":"1"}"#;
        assert_eq!(
            content_hash(text.as_bytes()),
            plain(r#"{"resourceType":"X","meta":{"profile":["p"]},"id":"1"}"#)
        );
        assert_eq!(
            content_hash(br#"{"meta":{"lastUpdated":"2024"},"id":"1"}"#),
            plain(r#"{"id":"1"}"#)
        );
        assert_eq!(
            content_hash(br#"{"id":"1","meta":{"lastUpdated":"2024"}}"#),
            plain(r#"{"id":"1"}"#)
        );
        assert_eq!(content_hash(br#"{"meta":{}}"#), plain("{}"));
    }

    #[test]
    fn number_text_counts() {
        assert_ne!(
            content_hash(br#"{"v":1.10}"#),
            content_hash(br#"{"v":1.1}"#)
        );
        assert_eq!(
            content_hash(br#"{"v":{"meta":{"versionId":"1"}}}"#),
            plain(r#"{"v":{"meta":{"versionId":"1"}}}"#)
        );
    }
}

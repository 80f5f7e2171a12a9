//! The opaque cursor in a page's next link. It holds all that the next page
//! needs, so that it outlives a restart of the portal, and looks random.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const CHECK_BYTES: usize = 8;

/// Where a search goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Told apart from other runs of the same search, so that one can expire.
    pub(crate) search: u64,
    pub(crate) ty: String,
    pub(crate) patient: String,
    /// A parameter beside the patient, and its value.
    #[serde(default)]
    pub(crate) filter: Option<(String, String)>,
    /// Only what was written at that time or later is found; microseconds since 1970.
    #[serde(default)]
    pub(crate) since_us: Option<i64>,
    pub(crate) count: usize,
    /// The page's number, counted from 1.
    pub(crate) page: usize,
    /// Slot of the page's first row; slots never move.
    pub(crate) from: usize,
    /// Slot of the previous page's first row.
    pub(crate) previous: usize,
}

impl Cursor {
    /// A checksum, then the cursor under a key stream that the checksum starts.
    pub(crate) fn token(&self) -> String {
        let mut body = serde_json::to_vec(self).expect("a cursor is plain data");
        let check = checksum(&body);
        mask(&check, &mut body);
        BASE64URL_NOPAD.encode(&[check.as_slice(), &body].concat())
    }

    /// `None` for anything that is not one of our tokens.
    pub(crate) fn parse(token: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (check, body) = bytes.split_at_checked(CHECK_BYTES)?;
        let mut body = body.to_vec();
        mask(check, &mut body);
        (checksum(&body) == check).then(|| serde_json::from_slice(&body).ok())?
    }
}

fn checksum(body: &[u8]) -> Vec<u8> {
    Sha256::digest(body)[..CHECK_BYTES].to_vec()
}

fn mask(seed: &[u8], body: &mut [u8]) {
    let mut key = Sha256::digest(seed);
    for block in body.chunks_mut(key.len()) {
        for (byte, key) in block.iter_mut().zip(&key) {
            *byte ^= key;
        }
        key = Sha256::digest(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_garbage_is_not() {
        let cursor = Cursor {
            search: 7,
            ty: "Observation".into(),
            patient: "odd/id %".into(),
            filter: Some(("category".into(), "x|y".into())),
            since_us: Some(1_700_000_000_000_000),
            count: 50,
            page: 2,
            from: 50,
            previous: 0,
        };
        let token = cursor.token();
        assert_eq!(Cursor::parse(&token), Some(cursor));
        assert_eq!(Cursor::parse(&token[1..]), None);
        assert_eq!(Cursor::parse("é"), None);
        assert_eq!(Cursor::parse(""), None);
    }
}

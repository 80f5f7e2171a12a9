//! Encryption at rest for the few columns that hold secrets or the source's own
//! words: tokens, cursors, the source's patient id. AES-256-GCM, the key's id in
//! the ciphertext, and table, row and column as associated data, so that a value
//! copied into another row does not open.
//!
//! Sealed form, base64 of: version (1 byte, 1) · key id (4 bytes) · nonce
//! (12 bytes) · ciphertext and tag.
//!
//! Invariant: no key and no opened value is ever part of an error or of `Debug`.

mod api_key;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::BASE64;

pub use api_key::{api_key_hash, new_api_key};

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is not 32 bytes of base64.
    #[error("the encryption key must be 32 bytes in base64 (`openssl rand -base64 32` makes one)")]
    Key,
    /// Two keys whose names begin alike: one in hundreds of millions does.
    #[error("two encryption keys cannot be told apart: make another one")]
    Alike,
    /// The value was sealed with a key that is not in the ring.
    #[error(
        "{column} was sealed with another encryption key: configure the key this database was made with"
    )]
    UnknownKey {
        /// Table and column.
        column: String,
    },
    /// The value is damaged, or belongs to another row.
    #[error("{column} does not open: the stored value is damaged or was copied from another row")]
    Damaged {
        /// Table and column.
        column: String,
    },
}

/// Where a sealed value stands: the associated data.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Table and column, `connections.token`.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

/// The characters of a sealed value that name its key: 36 of the 40 bits of version
/// and key id, as base64.
const MARK_LEN: usize = 6;

/// The key that seals, and those that open besides.
pub struct KeyRing {
    first: Key,
    others: Vec<Key>,
}

struct Key {
    id: [u8; KEY_ID_LEN],
    key: RandomizedNonceKey,
}

impl Key {
    fn from_base64(text: &str) -> Result<Self, Error> {
        let bytes = BASE64
            .decode(text.trim().as_bytes())
            .map_err(|_| Error::Key)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| Error::Key)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&digest.as_ref()[..KEY_ID_LEN]);
        Ok(Self { id, key })
    }

    fn mark(&self) -> String {
        let mut text = BASE64.encode(&[&[VERSION], &self.id[..]].concat());
        text.truncate(MARK_LEN);
        text
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing(…)")
    }
}

impl KeyRing {
    /// A ring of one key, given in base64.
    ///
    /// # Errors
    /// [`Error::Key`] if it is not 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        Ok(Self {
            first: Key::from_base64(text)?,
            others: Vec::new(),
        })
    }

    /// The same ring with another key that opens, given in base64: the one of before,
    /// or the one to come. The first key again changes nothing.
    ///
    /// # Errors
    /// [`Error::Key`] if it is not 32 bytes; [`Error::Alike`] if values of the two
    /// could not be told apart.
    pub fn and_opens(mut self, text: &str) -> Result<Self, Error> {
        let key = Key::from_base64(text)?;
        let known = || std::iter::once(&self.first).chain(&self.others);
        if known().any(|known| known.id == key.id) {
            return Ok(self);
        }
        if known().any(|known| known.mark() == key.mark()) {
            return Err(Error::Alike);
        }
        self.others.push(key);
        Ok(self)
    }

    /// What every value begins with that was sealed with the first key, and no other
    /// value of this ring.
    #[must_use]
    pub fn mark(&self) -> String {
        self.first.mark()
    }

    /// A new random key, in base64.
    #[must_use]
    pub fn generate() -> String {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
        BASE64.encode(&bytes)
    }

    /// Seals `plain` for `place`, with the first key.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the value is too large for one message (64 GiB).
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<String, Error> {
        let mut text = plain.to_vec();
        let nonce = self
            .first
            .key
            .seal_in_place_append_tag(Aad::from(associated(place)), &mut text)
            .map_err(|_| Error::Damaged {
                column: place.column.to_owned(),
            })?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.first.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(BASE64.encode(&sealed))
    }

    /// Opens what [`KeyRing::seal`] of a ring with one of these keys sealed for the
    /// same place.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] or [`Error::Damaged`].
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<Vec<u8>, Error> {
        let damaged = || Error::Damaged {
            column: place.column.to_owned(),
        };
        let mut bytes = BASE64.decode(sealed.as_bytes()).map_err(|_| damaged())?;
        if bytes.len() < HEADER_LEN || bytes[0] != VERSION {
            return Err(damaged());
        }
        let mut known = std::iter::once(&self.first).chain(&self.others);
        let key = known.find(|key| bytes[1..=KEY_ID_LEN] == key.id);
        let key = key.ok_or_else(|| Error::UnknownKey {
            column: place.column.to_owned(),
        })?;
        let nonce = Nonce::try_assume_unique_for_key(&bytes[1 + KEY_ID_LEN..HEADER_LEN])
            .map_err(|_| damaged())?;
        let mut text = bytes.split_off(HEADER_LEN);
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(associated(place)), &mut text)
            .map_err(|_| damaged())?
            .to_vec();
        Ok(plain)
    }
}

fn associated(place: Place<'_>) -> Vec<u8> {
    [place.column.as_bytes(), b"\0", place.row.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place {
        column: "connections.token",
        row: "con_1",
    };

    #[test]
    fn opens_only_in_its_place_and_with_its_key() {
        let ring = KeyRing::from_base64(&KeyRing::generate()).unwrap();
        let sealed = ring.seal(PLACE, b"secret").unwrap();
        assert_eq!(ring.open(PLACE, &sealed).unwrap(), b"secret");
        assert_ne!(sealed, ring.seal(PLACE, b"secret").unwrap());
        let moved = Place {
            row: "con_2",
            ..PLACE
        };
        assert!(matches!(
            ring.open(moved, &sealed),
            Err(Error::Damaged { .. })
        ));
        let other = KeyRing::from_base64(&KeyRing::generate()).unwrap();
        assert!(matches!(
            other.open(PLACE, &sealed),
            Err(Error::UnknownKey { .. })
        ));
        assert!(matches!(
            ring.open(PLACE, "AAAA"),
            Err(Error::Damaged { .. })
        ));
        assert!(matches!(ring.open(PLACE, "%"), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_ring_opens_with_all_its_keys_and_seals_with_the_first() {
        let (old, new) = (KeyRing::generate(), KeyRing::generate());
        let before = KeyRing::from_base64(&old).unwrap();
        let sealed = before.seal(PLACE, b"secret").unwrap();
        let ring = KeyRing::from_base64(&new).unwrap();
        let ring = ring.and_opens(&old).unwrap().and_opens(&new).unwrap();
        assert_eq!(ring.open(PLACE, &sealed).unwrap(), b"secret");
        let again = ring.seal(PLACE, b"secret").unwrap();
        assert!(again.starts_with(&ring.mark()) && !sealed.starts_with(&ring.mark()));
        assert!(sealed.starts_with(&before.mark()));
        assert!(matches!(
            before.open(PLACE, &again),
            Err(Error::UnknownKey { .. })
        ));
        assert!(before.and_opens("c2hvcnQ=").is_err());
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(KeyRing::from_base64("c2hvcnQ="), Err(Error::Key)));
    }
}

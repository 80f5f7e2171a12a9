//! API keys: `clk_`, 32 random base32 characters (160 bits) and 6 that check them,
//! so that a typing error, or a find of a secret scanner, shows without a look-up.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE32_NOPAD, HEXLOWER};

const PREFIX: &str = "clk_";
const RANDOM_BYTES: usize = 20;
const RANDOM_LEN: usize = 32;
const CHECK_LEN: usize = 6;

/// A new random key.
#[must_use]
pub fn new_api_key() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
    let random = BASE32_NOPAD.encode(&bytes).to_lowercase();
    format!("{PREFIX}{random}{}", check(&random))
}

/// The hash under which a key is stored, hexadecimal SHA-256: the key is random, so
/// nothing slower is needed. `None` for what cannot be a key.
#[must_use]
pub fn api_key_hash(key: &str) -> Option<String> {
    let rest = key.strip_prefix(PREFIX)?;
    if rest.len() != RANDOM_LEN + CHECK_LEN || !rest.is_ascii() {
        return None;
    }
    let (random, given) = rest.split_at(RANDOM_LEN);
    (check(random) == given).then(|| HEXLOWER.encode(digest(&SHA256, key.as_bytes()).as_ref()))
}

fn check(random: &str) -> String {
    let digest = digest(&SHA256, random.as_bytes());
    let mut text = BASE32_NOPAD.encode(digest.as_ref()).to_lowercase();
    text.truncate(CHECK_LEN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_hash_and_a_mistyped_one_has_none() {
        let key = new_api_key();
        assert_eq!(key.len(), 4 + 32 + 6);
        assert_eq!(api_key_hash(&key).unwrap().len(), 64);
        assert_ne!(key, new_api_key());
        let mut wrong = key.clone();
        let last = if wrong.pop() == Some('a') { 'b' } else { 'a' };
        wrong.push(last);
        for wrong in [
            &*wrong,
            "",
            "clk_",
            "clk_é",
            &key[..20],
            &key.to_uppercase(),
        ] {
            assert_eq!(api_key_hash(wrong), None, "{wrong}");
        }
    }
}

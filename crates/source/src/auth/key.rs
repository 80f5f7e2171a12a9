//! The keys that sign for us as a client. The private half leaves only as bytes to
//! be sealed.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA384, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use model::SigningAlgorithm;

/// The length of a coordinate of P-384.
const COORDINATE: usize = 48;

/// A signing key cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be {0}")]
pub struct KeyError(pub(crate) &'static str);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

/// A key that signs assertions.
pub struct SigningKey {
    kid: String,
    jwk: String,
    pkcs8: Vec<u8>,
    pair: Pair,
}

impl SigningKey {
    /// A new key. RSA takes tens of milliseconds of CPU.
    ///
    /// # Errors
    /// [`KeyError`] if the system has no randomness.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError("made");
        let pkcs8 = match algorithm {
            SigningAlgorithm::Rs384 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            SigningAlgorithm::Es384 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
                let document = pair.and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?;
                document.as_ref().to_vec()
            }
        };
        Self::from_pkcs8(algorithm, &pkcs8)
    }

    /// Reads what [`Self::pkcs8`] gave.
    ///
    /// # Errors
    /// [`KeyError`] if it is no such key.
    pub fn from_pkcs8(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let unread = || KeyError("read");
        let (pair, members) = match algorithm {
            SigningAlgorithm::Rs384 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| unread())?;
                let (n, e) = rsa_parts(pair.public_key().as_ref()).ok_or_else(unread)?;
                let (n, e) = (BASE64URL_NOPAD.encode(n), BASE64URL_NOPAD.encode(e));
                let members = format!(r#""e":"{e}","kty":"RSA","n":"{n}""#);
                (Pair::Rsa(Box::new(pair)), members)
            }
            SigningAlgorithm::Es384 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8);
                let pair = pair.map_err(|_| unread())?;
                // SEC 1, 2.3.3: 4, then both coordinates.
                let point = pair.public_key().as_ref();
                let (x, y) = match point.split_first() {
                    Some((4, both)) if both.len() == 2 * COORDINATE => both.split_at(COORDINATE),
                    _ => return Err(unread()),
                };
                let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
                let members = format!(r#""crv":"P-384","kty":"EC","x":"{x}","y":"{y}""#);
                (Pair::Ec(pair), members)
            }
        };
        // RFC 7638: the required members in the order of their names.
        let thumbprint = digest(&SHA256, format!("{{{members}}}").as_bytes());
        let kid = BASE64URL_NOPAD.encode(thumbprint.as_ref());
        let jwk = format!(
            r#"{{{members},"alg":"{algorithm}","use":"sig","key_ops":["verify"],"kid":"{kid}"}}"#
        );
        Ok(Self {
            kid,
            jwk,
            pkcs8: pkcs8.to_vec(),
            pair,
        })
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        match self.pair {
            Pair::Rsa(_) => SigningAlgorithm::Rs384,
            Pair::Ec(_) => SigningAlgorithm::Es384,
        }
    }

    /// Its name: the thumbprint of its public half (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public half as a JSON Web Key (RFC 7517).
    #[must_use]
    pub fn public_jwk(&self) -> &str {
        &self.jwk
    }

    /// The whole key, to be sealed.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A signature in the form of JWS (RFC 7518, 3.3 and 3.4).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let failed = |_| KeyError("used");
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, A.1.1): a sequence of two
/// integers.
fn rsa_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (modulus, rest) = der_value(sequence, 0x02)?;
    let (exponent, _) = der_value(rest, 0x02)?;
    // A leading zero keeps an integer positive; a JWK has none.
    let positive = |of| <[u8]>::strip_prefix(of, &[0]).unwrap_or(of);
    Some((positive(modulus), positive(exponent)))
}

/// The content of a DER value with this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        short if *short < 0x80 => (usize::from(*short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    (*first == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents,
        UnparsedPublicKey,
    };

    fn part(key: &SigningKey, name: &str) -> Vec<u8> {
        let jwk: serde_json::Value = serde_json::from_str(key.public_jwk()).unwrap();
        let text = jwk[name].as_str().unwrap().to_owned();
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_signed_is_verified_by_the_published_half() {
        for algorithm in SigningAlgorithm::ALL {
            let made = SigningKey::generate(*algorithm).unwrap();
            let key = SigningKey::from_pkcs8(*algorithm, made.pkcs8()).unwrap();
            assert_eq!((key.kid(), key.algorithm()), (made.kid(), *algorithm));
            let signature = key.sign(b"message").unwrap();
            let verified = match algorithm {
                SigningAlgorithm::Rs384 => {
                    let (n, e) = (part(&key, "n"), part(&key, "e"));
                    assert_eq!((n.len(), e.as_slice()), (256, &[1, 0, 1][..]));
                    RsaPublicKeyComponents { n, e }.verify(
                        &RSA_PKCS1_2048_8192_SHA384,
                        b"message",
                        &signature,
                    )
                }
                SigningAlgorithm::Es384 => {
                    let point = [vec![4], part(&key, "x"), part(&key, "y")].concat();
                    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                        .verify(b"message", &signature)
                }
            };
            assert!(verified.is_ok(), "{algorithm}");
            let jwk: serde_json::Value = serde_json::from_str(key.public_jwk()).unwrap();
            let private = ["d", "p", "q", "dp", "dq", "qi", "k"];
            assert!(private.iter().all(|name| jwk[name].is_null()), "{jwk}");
            assert_eq!(jwk["kid"], key.kid());
            assert!(!format!("{key:?}").contains("pkcs8"));
        }
    }

    #[test]
    fn a_key_of_the_other_kind_is_refused() {
        let key = SigningKey::generate(SigningAlgorithm::Es384).unwrap();
        assert!(SigningKey::from_pkcs8(SigningAlgorithm::Rs384, key.pkcs8()).is_err());
        assert!(SigningKey::from_pkcs8(SigningAlgorithm::Es384, b"").is_err());
        assert_eq!(der_value(&[0x30, 0x82, 0xFF, 0xFF, 1], 0x30), None);
        assert_eq!(der_value(&[0x30, 0x05, 1], 0x30), None);
    }

    /// The example of RFC 7638, 3.1, through the same form of members.
    #[test]
    fn the_thumbprint_is_over_the_required_members() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = format!(r#""e":"AQAB","kty":"RSA","n":"{n}""#);
        let thumbprint = digest(&SHA256, format!("{{{members}}}").as_bytes());
        assert_eq!(
            BASE64URL_NOPAD.encode(thumbprint.as_ref()),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }
}

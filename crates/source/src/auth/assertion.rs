//! The JWT by which we prove who we are (`private_key_jwt`; SMART App Launch,
//! "Client Authentication: Asymmetric"). Each is made for one request.

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::KeyError;
use super::key::SigningKey;

/// How long an assertion is good: SMART allows five minutes.
const LIFE_S: i64 = 240;

/// An assertion for one request to the token endpoint `audience`, at `now_s` by
/// that endpoint's clock, in seconds since 1970.
pub(crate) fn assertion(
    key: &SigningKey,
    client_id: &str,
    audience: &str,
    now_s: i64,
) -> Result<String, KeyError> {
    let mut jti = [0; 16];
    aws_lc_rs::rand::fill(&mut jti).map_err(|_| KeyError("used"))?;
    let header = json!({ "alg": key.algorithm(), "kid": key.kid(), "typ": "JWT" });
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": now_s,
        "exp": now_s + LIFE_S,
        "jti": BASE64URL_NOPAD.encode(&jti),
    });
    let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

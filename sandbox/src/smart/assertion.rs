//! `private_key_jwt`: what a client that signs has to prove (SMART App Launch,
//! "Client Authentication: Asymmetric").

use super::Smart;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// An assertion may be good for so long at most.
const LIFE_MAX_S: i64 = 300;
/// How far the two clocks may be apart.
const SKEW_S: i64 = 30;

/// The client that an assertion proves.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn prove(smart: &Smart, assertion: &str, token_url: &str) -> Result<String, String> {
    let (signed, signature) = assertion.rsplit_once('.').ok_or("it is no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("it is no JWT")?;
    let (header, claims) = (json(header)?, json(claims)?);
    let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let client_id = text(&claims, "iss").ok_or("it has no iss")?;
    if claims["sub"].as_str() != Some(client_id.as_str()) {
        return Err("sub is not iss".into());
    }
    if header["typ"].as_str() != Some("JWT") {
        return Err("typ is not JWT".into());
    }
    let client = smart.client(&client_id).ok_or("the client is not known")?;
    let jwks = client.jwks.ok_or("the client has no keys")?;
    let kid = text(&header, "kid").ok_or("it has no kid")?;
    let algorithm = text(&header, "alg").ok_or("it has no alg")?;
    let keys = jwks["keys"].as_array().cloned().unwrap_or_default();
    let key = keys
        .iter()
        .find(|key| key["kid"] == kid.as_str())
        .ok_or("no key has its kid")?;
    let signature = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .map_err(|_| "its signature is not base64url")?;
    verify(&algorithm, key, signed.as_bytes(), &signature)?;

    let now = smart.clock_s();
    if claims["aud"].as_str() != Some(token_url) {
        return Err("aud is not the token endpoint".into());
    }
    let until = claims["exp"].as_i64().ok_or("it has no exp")?;
    if until <= now - SKEW_S {
        return Err("it has expired".into());
    }
    if until > now + LIFE_MAX_S + SKEW_S {
        return Err("it is good for more than five minutes".into());
    }
    if claims["iat"].as_i64().is_some_and(|at| at > now + SKEW_S) {
        return Err("it is from the future".into());
    }
    let jti = text(&claims, "jti").ok_or("it has no jti")?;
    if !smart
        .grants()
        .is_fresh(&client_id, &jti, until + SKEW_S, now)
    {
        return Err("its jti was used before".into());
    }
    Ok(client_id)
}

fn json(part: &str) -> Result<Value, String> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
    let value = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    value.ok_or_else(|| "it is no JWT".into())
}

fn verify(algorithm: &str, key: &Value, signed: &[u8], signature: &[u8]) -> Result<(), String> {
    let part = |name: &str| {
        let text = key[name].as_str().unwrap_or_default();
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| format!("the key's {name} is not base64url"))
    };
    let wrong = "the signature is not that of the key";
    match (algorithm, key["kty"].as_str()) {
        ("RS384", Some("RSA")) => {
            let key = RsaPublicKeyComponents {
                n: part("n")?,
                e: part("e")?,
            };
            key.verify(&RSA_PKCS1_2048_8192_SHA384, signed, signature)
                .map_err(|_| wrong.into())
        }
        ("ES384", Some("EC")) if key["crv"] == "P-384" => {
            let point = [vec![4], part("x")?, part("y")?].concat();
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(signed, signature)
                .map_err(|_| wrong.into())
        }
        _ => Err("alg is neither RS384 nor ES384, or the key is of another kind".into()),
    }
}

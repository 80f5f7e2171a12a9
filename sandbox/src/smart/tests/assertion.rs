//! Clients that sign.

use super::{ask, at, client, read, start, text};
use crate::smart::client::ASSERTION_TYPE;
use crate::smart::now;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

struct Signer(EcdsaKeyPair);

impl Signer {
    fn jwks(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        json!({ "keys": [{ "kty": "EC", "crv": "P-384", "kid": "k1", "x": part(&point[1..49]), "y": part(&point[49..]) }] })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self
            .0
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn an_assertion_is_good_once_for_this_endpoint_and_five_minutes() {
    let signer = Signer(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
    let sandbox = start(vec![client("system", None, Some(signer.jwks()))]).await;
    let now = now().as_secs() as i64;
    let header = json!({ "alg": "ES384", "typ": "JWT", "kid": "k1" });
    let claims = |jti: &str| json!({ "iss": "system", "sub": "system", "aud": at(&sandbox, "/auth/token"), "exp": now + 240, "jti": jti });
    let ask = async |header: &Value, claims: &Value| {
        let assertion = signer.sign(header, claims);
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", "system/*.rs"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ];
        ask(&sandbox, None, &fields).await
    };
    let (status, tokens) = ask(&header, &claims("1")).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(read(&sandbox, &text(&tokens, "access_token")).await, 200);
    let mut refused = vec![(header.clone(), claims("1"))];
    let mut number = 1;
    for (name, value) in [
        ("sub", json!("another")),
        ("aud", json!("http://127.0.0.1/auth/token")),
        ("exp", json!(now - 60)),
        ("exp", json!(now + 3600)),
        ("jti", Value::Null),
    ] {
        number += 1;
        let mut claims = claims(&number.to_string());
        claims[name] = value;
        refused.push((header.clone(), claims));
    }
    for (name, value) in [("kid", "k2"), ("alg", "RS384"), ("alg", "none")] {
        number += 1;
        let mut header = header.clone();
        header[name] = value.into();
        refused.push((header, claims(&number.to_string())));
    }
    for (header, claims) in refused {
        let (status, body) = ask(&header, &claims).await;
        assert_eq!(
            (status, &body["error"]),
            (401, &Value::from("invalid_client")),
            "{header} {claims}"
        );
    }
}

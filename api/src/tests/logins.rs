//! Sources that are logged in to, connections with grants, and our public keys.

use db::NewSigningKey;
use model::{ConnectionStatus, SigningAlgorithm};
use serde_json::{Value, json};

use super::{Reply, Server, assert_problem};

fn source(auth: &str, login: Value) -> Value {
    json!({ "name": auth, "base_url": format!("https://ehr.example/{auth}"), "auth": auth, "login": login })
}

fn never_tells(reply: &Reply) {
    assert!(!reply.text.contains("hush"), "{}", reply.text);
}

#[tokio::test]
async fn a_login_is_shown_without_its_secret_and_replaced() {
    let server = Server::start().await;
    let login = json!({
        "client_id": "app", "client_secret": "hush-1", "token_url": "https://auth.example/token",
        "scope": "system/*.rs", "method": "client_secret_post"
    });
    let added = server
        .post("/v1/sources", &source("client_credentials", login))
        .await
        .is(201);
    never_tells(&added);
    assert_eq!(
        added.body["login"],
        json!({
            "client_id": "app", "token_url": "https://auth.example/token", "scope": "system/*.rs",
            "method": "client_secret_post", "signing_algorithm": null
        })
    );
    let path = format!("/v1/sources/{}", added.id());
    let change = json!({ "login": { "client_id": "other", "client_secret": "hush-2" } });
    let changed = server.patch(&path, &change).await.is(200);
    never_tells(&changed);
    assert_eq!(changed.body["login"]["client_id"], "other");
    assert_eq!(changed.body["login"]["method"], "client_secret_basic");
    let id = added.id().parse().unwrap();
    let open = server.db.source_login(id).await.unwrap().unwrap();
    assert_eq!(open.secret.as_deref(), Some("hush-2"));
    for auth in ["backend_services", "smart"] {
        let added = server
            .post("/v1/sources", &source(auth, json!({ "client_id": "app" })))
            .await;
        let method = if auth == "smart" {
            "none"
        } else {
            "private_key_jwt"
        };
        assert_eq!(added.is(201).body["login"]["method"], method);
    }
}

#[tokio::test]
async fn a_login_that_does_not_fit_is_refused() {
    let server = Server::start().await;
    let app = |more: Value| {
        let mut login = json!({ "client_id": "app" });
        login
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        login
    };
    for body in [
        source("none", app(json!({}))),
        source("smart", Value::Null),
        source("smart", json!({})),
        source("smart", app(json!({ "client_secret": "" }))),
        source(
            "smart",
            app(json!({ "token_url": "http://auth.example/token" })),
        ),
        source("smart", app(json!({ "method": "client_secret_basic" }))),
        source("client_credentials", app(json!({}))),
        source("backend_services", app(json!({ "client_secret": "hush" }))),
        source(
            "backend_services",
            app(json!({ "signing_algorithm": "HS256" })),
        ),
        source("backend_services", app(json!({ "secret": "hush" }))),
    ] {
        let refused = server.post("/v1/sources", &body).await;
        assert_problem(&refused, 422, "invalid_value");
        never_tells(&refused);
    }
    let open = json!({ "name": "open", "base_url": "https://ehr.example/open" });
    let open = server.post("/v1/sources", &open).await.is(201);
    assert_eq!(open.body["login"], Value::Null);
    let change = json!({ "login": { "client_id": "app" } });
    let path = format!("/v1/sources/{}", open.id());
    assert_problem(&server.patch(&path, &change).await, 422, "invalid_value");
}

#[tokio::test]
async fn a_connection_is_made_with_a_grant_and_made_again() {
    let server = Server::start().await;
    let smart = source("smart", json!({ "client_id": "app" }));
    let smart = server.post("/v1/sources", &smart).await.is(201).id();
    let patient = server.patient("ann").await;
    let body = |more: Value| {
        let mut body =
            json!({ "patient_id": patient, "source_id": smart, "source_patient_id": "there" });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for wrong in [
        json!({}),
        json!({ "token": "hush" }),
        json!({ "grant": {} }),
        json!({ "grant": { "scope": "x" } }),
        json!({ "grant": { "refresh_token": "hush", "expires_in": 0 } }),
        json!({ "grant": { "refresh_token": "hu\nsh" } }),
        json!({ "token": "hush", "grant": { "refresh_token": "hush" } }),
    ] {
        let refused = server.post("/v1/connections", &body(wrong)).await;
        assert_problem(&refused, 422, "invalid_value");
        never_tells(&refused);
    }
    let grant = json!({
        "access_token": "hush-a", "refresh_token": "hush-r", "expires_in": 60, "scope": "patient/*.rs"
    });
    let made = server
        .post("/v1/connections", &body(json!({ "grant": grant })))
        .await
        .is(201);
    never_tells(&made);
    let id = made.id().parse().unwrap();
    let stored = server.db.token(&made.id()).await.unwrap().unwrap();
    assert_eq!(stored.refresh.as_deref(), Some("hush-r"));
    assert_eq!(stored.expires_at.0 - stored.obtained_at.0, 60_000_000);

    server
        .db
        .set_needs_reconnect(id, "invalid_grant")
        .await
        .unwrap();
    let path = format!("/v1/connections/{}", made.id());
    let lost = server.get(&path).await;
    assert_eq!(
        lost.body["status"],
        ConnectionStatus::NeedsReconnect.as_str()
    );
    let again = format!("{path}/reconnect");
    for wrong in [json!({}), json!({ "token": "hush" })] {
        assert_problem(&server.post(&again, &wrong).await, 422, "invalid_value");
    }
    let grant = json!({ "grant": { "refresh_token": "hush-r2" } });
    let active = server.post(&again, &grant).await.is(200);
    assert_eq!(active.body["status"], "active");
    never_tells(&active);
    let stored = server.db.token(&made.id()).await.unwrap().unwrap();
    assert_eq!(
        (stored.version, stored.refresh.as_deref()),
        (2, Some("hush-r2"))
    );
    // It is to be refreshed before it is used.
    assert_eq!(stored.access, None);
    let nobody = format!("/v1/connections/con_{:032x}/reconnect", 7);
    assert_problem(&server.post(&nobody, &grant).await, 404, "not_found");
}

#[tokio::test]
async fn our_public_keys_are_open_and_may_be_kept_for_a_while() {
    let server = Server::start().await;
    let url = format!("http://{}/.well-known/jwks.json", server.address);
    let none: Value =
        serde_json::from_str(&reqwest::get(&url).await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(none, json!({ "keys": [] }));
    let jwk = r#"{"kty":"EC","kid":"k1","alg":"ES384","use":"sig","key_ops":["verify"],"crv":"P-384","x":"a","y":"b"}"#;
    let key = NewSigningKey {
        kid: "k1".to_owned(),
        algorithm: SigningAlgorithm::Es384,
        public_jwk: jwk.to_owned(),
        pkcs8: b"hush".to_vec(),
    };
    server.db.rotate_signing_keys(&[key], None).await.unwrap();
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=3600");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let keys: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let jwk: Value = serde_json::from_str(jwk).unwrap();
    assert_eq!(keys, json!({ "keys": [jwk] }));
}

//! The authorization server over HTTP.

mod assertion;
mod page;

use super::{SmartClient, SmartKnobs, SmartOptions};
use crate::{Sandbox, SandboxOptions};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;
use url::{Url, form_urlencoded};

const SCOPE: &str = "launch/patient patient/*.rs offline_access";
const VERIFIER: &str = "a-verifier-of-the-test";

fn client(id: &str, secret: Option<&str>, jwks: Option<Value>) -> SmartClient {
    SmartClient {
        id: id.to_owned(),
        secret: secret.map(str::to_owned),
        jwks,
    }
}

async fn start(clients: Vec<SmartClient>) -> Sandbox {
    let options = SandboxOptions {
        smart: Some(SmartOptions {
            clients,
            knobs: SmartKnobs::default(),
        }),
        ..SandboxOptions::default()
    };
    Sandbox::start(options).await.unwrap()
}

fn at(sandbox: &Sandbox, path: &str) -> String {
    sandbox.base_url().join(path).unwrap().to_string()
}

async fn ask(sandbox: &Sandbox, basic: Option<&str>, fields: &[(&str, &str)]) -> (u16, Value) {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut request = reqwest::Client::new()
        .post(at(sandbox, "/auth/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    if let Some(basic) = basic {
        let basic = BASE64.encode(basic.as_bytes());
        request = request.header("authorization", format!("Basic {basic}"));
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

async fn refresh(sandbox: &Sandbox, token: &str) -> (u16, Value) {
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "app"),
        ("refresh_token", token),
    ];
    ask(sandbox, None, &fields).await
}

async fn read(sandbox: &Sandbox, token: &str) -> u16 {
    let id = &sandbox.patients()[0].id;
    let request = reqwest::Client::new()
        .get(at(sandbox, &format!("/fhir/Patient/{id}")))
        .header("authorization", format!("Bearer {token}"));
    request.send().await.unwrap().status().as_u16()
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

/// What a client asks for its patient's approval; `VERIFIER` is its secret.
async fn request_to_authorize(sandbox: &Sandbox, state: &str) -> Url {
    let configuration = reqwest::get(at(sandbox, "/fhir/.well-known/smart-configuration"))
        .await
        .unwrap();
    let configuration: Value = serde_json::from_str(&configuration.text().await.unwrap()).unwrap();
    assert_eq!(configuration["token_endpoint"], at(sandbox, "/auth/token"));
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(VERIFIER));
    let mut asked = Url::parse(&text(&configuration, "authorization_endpoint")).unwrap();
    asked.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", "http://127.0.0.1:1/back"),
        ("scope", SCOPE),
        ("state", state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    asked
}

/// Whoever follows no redirect.
fn browser() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// What the client is told by the redirect back to it, in order.
fn told(answer: &reqwest::Response) -> Vec<(String, String)> {
    assert_eq!(answer.status(), 302);
    let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    back.query_pairs().into_owned().collect()
}

async fn exchange(sandbox: &Sandbox, code: &str, verifier: &str) -> (u16, Value) {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "app"),
        ("redirect_uri", "http://127.0.0.1:1/back"),
        ("code", code),
        ("code_verifier", verifier),
    ];
    ask(sandbox, None, &fields).await
}

#[tokio::test]
async fn a_code_is_exchanged_once_and_by_who_asked_for_it() {
    let sandbox = start(vec![client("app", None, None)]).await;
    let asked = request_to_authorize(&sandbox, "a state").await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let answer = browser().get(asked.clone()).send().await.unwrap();
        let pairs = told(&answer);
        assert_eq!(pairs[1], ("state".to_owned(), "a state".to_owned()));
        codes.push(pairs[0].1.clone());
    }
    let (status, tokens) = exchange(&sandbox, &codes[0], VERIFIER).await;
    assert_eq!((status, &tokens["scope"]), (200, &Value::from(SCOPE)));
    assert_eq!(tokens["patient"], sandbox.patients()[0].id);
    assert_eq!(read(&sandbox, &text(&tokens, "access_token")).await, 200);
    for (code, verifier) in [(&codes[0], VERIFIER), (&codes[1], "another")] {
        let (_, refusal) = exchange(&sandbox, code, verifier).await;
        assert_eq!(refusal["error"], "invalid_grant");
    }
}

#[tokio::test]
async fn the_old_refresh_token_is_good_until_the_new_pair_is_used() {
    let sandbox = start(vec![client("app", None, None)]).await;
    let first = sandbox.smart().grant("app", "a-patient", SCOPE);
    let old = first.refresh_token.unwrap();
    let (_, lost) = refresh(&sandbox, &old).await;
    // Nobody has seen that answer: the old one is good, and takes its place.
    let (status, second) = refresh(&sandbox, &old).await;
    assert_eq!(status, 200);
    assert_eq!(read(&sandbox, &text(&lost, "access_token")).await, 401);
    assert_eq!(
        refresh(&sandbox, &text(&lost, "refresh_token")).await.0,
        400
    );
    assert_eq!(read(&sandbox, &text(&second, "access_token")).await, 200);
    assert_eq!(refresh(&sandbox, &old).await.1["error"], "invalid_grant");
    assert!(sandbox.smart().is_alive(first.grant));
    assert_eq!(
        refresh(&sandbox, &text(&second, "refresh_token")).await.0,
        200
    );
}

#[tokio::test]
async fn without_grace_an_old_refresh_token_ends_the_grant() {
    let sandbox = start(vec![client("app", None, None)]).await;
    sandbox.smart().set_knobs(SmartKnobs {
        keep_old_until_new_is_used: false,
        ..SmartKnobs::default()
    });
    let first = sandbox.smart().grant("app", "a-patient", SCOPE);
    let old = first.refresh_token.unwrap();
    let (_, second) = refresh(&sandbox, &old).await;
    assert_eq!(refresh(&sandbox, &old).await.1["error"], "invalid_grant");
    assert!(!sandbox.smart().is_alive(first.grant));
    assert_eq!(read(&sandbox, &text(&second, "access_token")).await, 401);
    assert_eq!(
        refresh(&sandbox, &text(&second, "refresh_token")).await.0,
        400
    );
}

#[tokio::test]
async fn access_tokens_end_and_outages_do_what_the_knobs_say() {
    let sandbox = start(vec![client("app", None, None)]).await;
    let with = |knobs| sandbox.smart().set_knobs(knobs);
    with(SmartKnobs {
        token_lifetime_ms: 0,
        ..SmartKnobs::default()
    });
    let issued = sandbox.smart().grant("app", "a-patient", SCOPE);
    assert_eq!(read(&sandbox, &issued.access_token).await, 401);
    with(SmartKnobs {
        token_fail_next: 1,
        omit_expires_in: true,
        ..SmartKnobs::default()
    });
    let token = issued.refresh_token.unwrap();
    assert_eq!(refresh(&sandbox, &token).await, (503, Value::Null));
    let (status, tokens) = refresh(&sandbox, &token).await;
    assert_eq!((status, &tokens["expires_in"]), (200, &Value::Null));
    with(SmartKnobs {
        token_hang: true,
        ..SmartKnobs::default()
    });
    let token = text(&tokens, "refresh_token");
    let hung = tokio::time::timeout(Duration::from_millis(100), refresh(&sandbox, &token));
    assert!(hung.await.is_err());
    with(SmartKnobs::default());
    sandbox.smart().revoke(issued.grant);
    assert_eq!(refresh(&sandbox, &token).await.1["error"], "invalid_grant");
    // The log has all of them, the one that the client gave up too, and no token.
    let mut log = sandbox.smart().token_requests();
    while log.len() < 4 {
        tokio::task::yield_now().await;
        log = sandbox.smart().token_requests();
    }
    let mut statuses: Vec<u16> = log.iter().map(|entry| entry.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 499, 503]);
    assert!(log.iter().all(|entry| entry.grant == issued.grant));
    assert!(log.iter().all(|entry| entry.started_us <= entry.ended_us));
    assert!(!serde_json::to_string(&log).unwrap().contains(&token));
}

#[tokio::test]
async fn a_client_with_a_secret_has_to_show_it() {
    let sandbox = start(vec![client("a b", Some("s:%"), None)]).await;
    let fields = [("grant_type", "client_credentials")];
    let (status, tokens) = ask(&sandbox, Some("a+b:s%3A%25"), &fields).await;
    assert_eq!(status, 200);
    assert_eq!(tokens["refresh_token"], Value::Null);
    assert_eq!(read(&sandbox, &text(&tokens, "access_token")).await, 200);
    let posted = [fields[0], ("client_id", "a b"), ("client_secret", "s:%")];
    assert_eq!(ask(&sandbox, None, &posted).await.0, 200);
    let wrong = [
        fields[0],
        ("client_id", "a b"),
        ("client_secret", "another"),
    ];
    for fields in [&wrong[..], &wrong[..2]] {
        let (status, body) = ask(&sandbox, None, fields).await;
        assert_eq!(
            (status, &body["error"]),
            (401, &Value::from("invalid_client"))
        );
    }
}

//! Every operation of the document, with no key, a wrong one, one without the
//! scope, a revoked one, an expired one, and somebody else's `Idempotency-Key`: each
//! is refused as the document says.

use db::NewApiKey;
use model::{Scope, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{JsonBody, Reply, Server, assert_problem, new_key, send};

/// What may be asked without a key.
const OPEN: [&str; 3] = ["/.well-known/jwks.json", "/healthz", "/readyz"];

/// An operation of the document.
#[derive(Debug)]
struct Operation {
    method: Method,
    /// With ids that are nobody's.
    path: String,
    scope: Scope,
    /// The statuses that the document names.
    statuses: Vec<u16>,
}

impl Operation {
    /// Whether the operation was refused, and the document says that it may be.
    #[track_caller]
    fn assert_refused(&self, reply: &Reply, status: u16, code: &str) {
        assert_problem(reply, status, code);
        assert!(self.statuses.contains(&status), "{self:?} and {status}");
    }
}

/// All operations but those that need no key.
fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&crate::document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(scope) = operation["security"][0]["key"][0].as_str() else {
                assert!(
                    OPEN.contains(&path.as_str()),
                    "{method} {path} needs no key"
                );
                continue;
            };
            let statuses = operation["responses"].as_object().unwrap().keys();
            let noun = path.split('/').nth(2).unwrap();
            let prefix = match noun {
                "sources" => "src_",
                "patients" => "pat_",
                "connections" => "con_",
                "pulls" => "pul_",
                "destinations" => "dst_",
                "exports" => "exp_",
                "keys" => "key_",
                "probes" => "prb_",
                _ => "",
            };
            let id = format!("{prefix}{}", "0".repeat(32));
            let path = path.replace("{id}", &id).replace("{type}", "Patient");
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path,
                scope: scope.parse().unwrap(),
                statuses: statuses.map(|status| status.parse().unwrap()).collect(),
            });
        }
    }
    assert!(operations.len() >= 25, "{operations:?}");
    operations
}

async fn ask(server: &Server, method: &Method, path: &str, key: Option<&str>) -> Reply {
    let mut request = server.request(method.clone(), path);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if *method == Method::POST || *method == Method::PATCH {
        request = request.json(&json!({}));
    }
    send(request).await
}

#[tokio::test]
async fn no_operation_answers_without_the_right_key() {
    let server = Server::start().await;
    let (revoked_id, revoked) = new_key(&server.db, Scope::ALL).await;
    server.db.revoke_api_key(revoked_id).await.unwrap();
    let expired = NewApiKey {
        name: "expired".to_owned(),
        scopes: Scope::ALL.to_vec(),
        expires_at: Some(Timestamp::now()),
    };
    let (_, expired) = server.db.add_api_key(&expired).await.unwrap();
    let (replaced_id, replaced) = new_key(&server.db, Scope::ALL).await;
    let rotated = server.db.rotate_api_key(replaced_id, Timestamp::now());
    rotated.await.unwrap();
    let unknown = seal::new_api_key();
    for operation in operations() {
        let (method, path, scope) = (&operation.method, &operation.path, operation.scope);
        let others: Vec<Scope> = Scope::ALL
            .iter()
            .copied()
            .filter(|of| *of != scope)
            .collect();
        let (_, without) = new_key(&server.db, &others).await;
        let refused = ask(&server, method, path, None).await;
        operation.assert_refused(&refused, 401, "unauthenticated");
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
        for key in [
            &*revoked,
            &*expired,
            &*replaced,
            &*unknown,
            "clk_short",
            "",
            "é",
        ] {
            let refused = ask(&server, method, path, Some(key)).await;
            operation.assert_refused(&refused, 401, "unauthenticated");
        }
        let refused = ask(&server, method, path, Some(&without)).await;
        operation.assert_refused(&refused, 403, "missing_scope");
        assert!(
            refused.body["detail"]
                .as_str()
                .unwrap()
                .contains(scope.as_str())
        );
        let (_, with) = new_key(&server.db, &[scope]).await;
        let answered = ask(&server, method, path, Some(&with)).await;
        assert!(
            ![401, 403].contains(&answered.status),
            "{method} {path}: {}",
            answered.text
        );
    }
}

#[tokio::test]
async fn no_operation_takes_somebody_elses_idempotency_key() {
    let server = Server::start().await;
    let made = json!({"external_id": "first"});
    server
        .post_once("/v1/patients", &made, "theirs")
        .await
        .is(201);
    let (_, other) = new_key(&server.db, Scope::ALL).await;
    for operation in operations() {
        let request = server.request(operation.method.clone(), &operation.path);
        let request = request.bearer_auth(&other);
        let reply = send(request.header("idempotency-key", "theirs").json(&json!({}))).await;
        if operation.method == Method::POST {
            operation.assert_refused(&reply, 422, "idempotency_key_reused");
        } else {
            // The others do not look at it.
            assert_eq!(reply.header("idempotency-replayed"), None, "{operation:?}");
        }
    }
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_expires_or_is_replaced() {
    let server = Server::start().await;
    let body = json!({"name": "dashboard", "scopes": ["read"], "expires_in_days": 1});
    let made = server.post("/v1/keys", &body).await.is(201);
    let (id, secret) = (made.id(), made.body["secret"].as_str().unwrap().to_owned());
    assert!(made.body["expires_at"].is_string());
    let read = async |key: &str| {
        ask(&server, &Method::GET, "/v1/pulls", Some(key))
            .await
            .status
    };
    assert_eq!(read(&secret).await, 200);
    let shown = server.get(&format!("/v1/keys/{id}")).await.is(200);
    assert!(!shown.text.contains(&secret[4..]) && shown.body["last_used_at"].is_string());

    let rotated = server
        .post(
            &format!("/v1/keys/{id}/rotate"),
            &json!({"overlap_hours": 1}),
        )
        .await
        .is(201);
    let new = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_eq!((read(&secret).await, read(&new).await), (200, 200));
    let twice = server
        .post(&format!("/v1/keys/{id}/rotate"), &json!({}))
        .await;
    assert_problem(&twice, 409, "conflict");
    let path = format!("/v1/keys/{id}");
    let revoke = server
        .request(Method::DELETE, &path)
        .bearer_auth(&server.key);
    send(revoke).await.is(200);
    assert_eq!((read(&secret).await, read(&new).await), (401, 200));

    let at_once = server
        .post(
            &format!("/v1/keys/{}/rotate", rotated.id()),
            &json!({"overlap_hours": 0}),
        )
        .await
        .is(201);
    assert_eq!(read(&new).await, 401);
    assert_eq!(read(at_once.body["secret"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn who_did_what_is_in_the_audit_log() {
    let server = Server::start().await;
    let made = server
        .post("/v1/patients", &json!({"external_id": "a"}))
        .await
        .is(201);
    let taken = server
        .post("/v1/patients", &json!({"external_id": "a"}))
        .await;
    assert_problem(&taken, 409, "conflict");
    server.get("/v1/patients/a/$everything").await.is(200);
    let audit = server.get("/v1/audit").await.is(200);
    let entries = audit.body["data"].as_array().unwrap();
    let told: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| {
            (
                entry["action"].as_str().unwrap(),
                entry["subject_id"].as_str().unwrap(),
            )
        })
        .collect();
    let id = made.id();
    assert_eq!(told, [("record.read", &*id), ("patient.add", &*id)]);
    assert!(
        entries
            .iter()
            .all(|entry| entry["api_key_id"] == server.key_id.to_string())
    );
    assert_eq!(entries[0]["detail"], json!({"resources": 0}));
    let at: Timestamp = model::fhir_instant(entries[0]["created_at"].as_str().unwrap()).unwrap();
    assert!(at <= Timestamp::now());
}

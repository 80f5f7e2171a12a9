//! Requests over a real listener, against a real database.

use std::net::SocketAddr;

use db::{Db, NewConnection, NewSource, SourceAuth};
use model::{ConnectionId, Trigger};
use seal::KeyRing;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::router;

struct Server {
    address: SocketAddr,
    db: Db,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    kind: String,
    allow: Option<String>,
    body: Value,
    text: String,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("test.db").display());
        let keys = KeyRing::from_base64(&KeyRing::generate()).unwrap();
        let db = Db::connect(&url, keys).await.unwrap();
        db.migrate().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = router(db.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            address,
            db,
            _dir: dir,
        }
    }

    async fn connection(&self, number: usize) -> ConnectionId {
        let source_id = match self.db.source("clinic").await {
            Ok(source) => source.id,
            Err(_) => {
                let new = NewSource {
                    name: "clinic".into(),
                    base_url: "https://ehr.example/fhir".into(),
                    identity: "ehr.example/fhir".into(),
                    auth: SourceAuth::Bearer,
                };
                self.db.add_source(&new).await.unwrap()
            }
        };
        let patient_id = self
            .db
            .ensure_patient(&format!("person-{number}"))
            .await
            .unwrap();
        let new = NewConnection {
            patient_id,
            source_id,
            source_patient_id: "canary-patient".into(),
            token: Some("canary-token".into()),
        };
        self.db.add_connection(&new).await.unwrap()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let reply = request.send().await.unwrap();
        let header = |name| {
            reply
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let (status, allow) = (reply.status().as_u16(), header("allow"));
        let kind = header("content-type").unwrap_or_default();
        let text = reply.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Reply {
            status,
            kind,
            allow,
            body,
            text,
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(reqwest::Client::new().get(format!("http://{}{path}", self.address)))
            .await
    }
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.kind, "application/problem+json");
    assert_eq!(reply.body["code"], code);
    assert_eq!(reply.body["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(reply.body[member].is_string(), "{member}");
    }
}

#[tokio::test]
async fn health_and_readiness() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    server.db.close().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_problem(&server.get("/readyz").await, 503, "database_unavailable");
    assert_problem(&server.get("/v1/pulls").await, 500, "internal");
}

#[tokio::test]
async fn lists_go_back_page_by_page() {
    let server = Server::start().await;
    let mut pulls = Vec::new();
    for number in 0..5 {
        let connection = server.connection(number).await;
        pulls.push(
            server
                .db
                .request_pull(connection, Trigger::Manual)
                .await
                .unwrap()
                .to_string(),
        );
    }
    pulls.reverse();
    let mut seen = Vec::new();
    let mut path = "/v1/pulls?limit=2".to_owned();
    loop {
        let reply = server.get(&path).await;
        let data = reply.body["data"].as_array().unwrap();
        seen.extend(
            data.iter()
                .map(|pull| pull["id"].as_str().unwrap().to_owned()),
        );
        let Some(before) = reply.body["next_before"].as_str() else {
            assert_eq!(reply.body["has_more"], false);
            break;
        };
        assert_eq!(data.len(), 2);
        path = format!("/v1/pulls?limit=2&before={before}");
    }
    assert_eq!(seen, pulls);

    let first = server.get("/v1/connections?limit=3").await.body;
    assert_eq!(first["data"][0]["external_id"], "person-4");
    let rest = format!(
        "/v1/connections?before={}",
        first["next_before"].as_str().unwrap()
    );
    let rest = server.get(&rest).await.body;
    assert_eq!(rest["data"].as_array().unwrap().len(), 2);
    assert_eq!(rest["data"][1]["external_id"], "person-0");
    assert_eq!(
        server.get("/v1/destinations").await.body["data"],
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn a_pull_is_read_with_its_triggers_and_no_secret() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let pull = server
        .db
        .request_pull(connection, Trigger::Manual)
        .await
        .unwrap();
    let reply = server.get(&format!("/v1/pulls/{pull}")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["state"], "queued");
    assert_eq!(reply.body["triggers"][0]["reason"], "manual");
    assert_eq!(reply.body["types"], Value::Array(Vec::new()));
    assert!(reply.body["created_at"].as_str().unwrap().ends_with('Z'));
    let connections = server.get("/v1/connections").await;
    assert_eq!(connections.body["data"][0]["id"], connection.to_string());
    assert!(!connections.text.contains("canary") && !reply.text.contains("canary"));
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let server = Server::start().await;
    let unknown = model::ExportId::new();
    for (path, status, code) in [
        ("/", 404, "no_such_route"),
        ("/v1/nothing", 404, "no_such_route"),
        (&format!("/v1/exports/{unknown}"), 404, "not_found"),
        ("/v1/exports/1", 400, "invalid_parameter"),
        ("/v1/pulls/%ff", 400, "invalid_parameter"),
        (&format!("/v1/pulls/{unknown}"), 400, "invalid_parameter"),
        ("/v1/pulls?limit=0", 400, "invalid_parameter"),
        ("/v1/pulls?limit=201", 400, "invalid_parameter"),
        ("/v1/pulls?limit=x", 400, "invalid_parameter"),
        ("/v1/pulls?limit=1&limit=2", 400, "invalid_parameter"),
        ("/v1/pulls?before=x", 400, "invalid_parameter"),
        ("/v1/pulls?state=queued", 400, "invalid_parameter"),
    ] {
        assert_problem(&server.get(path).await, status, code);
    }
    let client = reqwest::Client::new();
    let post = server
        .send(client.post(format!("http://{}/v1/pulls", server.address)))
        .await;
    assert_problem(&post, 405, "method_not_allowed");
    assert!(post.allow.unwrap().contains("GET"));
    let url = format!("http://{}/v1/pulls", server.address);
    let foreign = server
        .send(client.get(url).header("host", "evil.example"))
        .await;
    assert_problem(&foreign, 403, "foreign_host");
}

#[tokio::test]
async fn other_machines_are_refused() {
    let server = Server::start().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = crate::serve(server.db, listener, std::future::pending()).await;
    assert!(refused.unwrap_err().to_string().contains("127.0.0.1"));
}

//! Requests over a real listener, against a real database and a real record store.

mod access;
mod attachments;
mod destinations;
mod idempotency;
mod lists;
mod logins;
mod refusals;
mod runs;
mod schedules;
mod sources;
mod strategies;

use std::net::SocketAddr;
use std::sync::Arc;

use db::{Db, NewApiKey, NewConnection, NewSource, SourceAuth};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{ConnectionId, KeyId, PatientId, ProbeReport, Scope};
use records::Store;
use reqwest::Method;
use seal::KeyRing;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{App, CheckedBase, Checks, Reason, router};

/// Registers everything whose name does not say `refused`.
struct Lenient;

impl Checks for Lenient {
    fn base_url<'a>(&'a self, base_url: &'a str) -> BoxFuture<'a, Result<CheckedBase, Reason>> {
        let answer = if base_url.contains("refused") || !base_url.starts_with("https://") {
            Err(Reason::Unusable("`base_url` is refused".to_owned()))
        } else {
            Ok(CheckedBase {
                base_url: base_url.to_owned(),
                identity: base_url.trim_start_matches("https://").to_owned(),
            })
        };
        async move { answer }.boxed()
    }

    fn token_url<'a>(
        &'a self,
        _: &'a str,
        token_url: &'a str,
    ) -> BoxFuture<'a, Result<(), Reason>> {
        let answer = if token_url.starts_with("https://") {
            Ok(())
        } else {
            Err(Reason::Unusable("`token_url` is refused".to_owned()))
        };
        async move { answer }.boxed()
    }

    fn destination<'a>(
        &'a self,
        location: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, Reason>> {
        let refused = location.contains("refused") || !location.starts_with('/');
        let answer = if refused {
            Err(Reason::Unusable("`location` is refused".to_owned()))
        } else {
            Ok(location.to_owned())
        };
        async move { answer }.boxed()
    }
}

struct Server {
    address: SocketAddr,
    db: Db,
    store: Store,
    /// A key with every scope.
    key: String,
    key_id: KeyId,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("test.db").display());
        let keys = KeyRing::from_base64(&KeyRing::generate()).unwrap();
        let db = Db::connect(&url, keys).await.unwrap();
        db.migrate().await.unwrap();
        let store = Store::open_local(&dir.path().join("records")).unwrap();
        let (key_id, key) = new_key(&db, Scope::ALL).await;
        let address = Self::listen(&db, &store).await;
        Self {
            address,
            db,
            store,
            key,
            key_id,
            _dir: dir,
        }
    }

    /// Another API on the same database.
    async fn listen(db: &Db, store: &Store) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = router(App::new(db.clone(), store.clone(), Arc::new(Lenient)));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    async fn patient(&self, external_id: &str) -> PatientId {
        self.db.ensure_patient(external_id).await.unwrap()
    }

    /// A destination whose test has ended as a worker would end it.
    async fn tested_lake(&self) -> Reply {
        let lake = json!({"name": "lake", "location": "/data/lake", "format": "parquet"});
        let lake = self.post("/v1/destinations", &lake).await.is(201);
        let test = lake.body["test"]["id"].as_str().unwrap().parse().unwrap();
        let report = ProbeReport::default();
        self.db.end_probe(test, &report, None).await.unwrap();
        self.get(&format!("/v1/destinations/{}", lake.id()))
            .await
            .is(200)
    }

    async fn connection(&self, number: usize) -> ConnectionId {
        let source_id = match self.db.source("clinic").await {
            Ok(source) => source.id,
            Err(_) => {
                let new = NewSource {
                    auth: SourceAuth::Bearer,
                    ..NewSource::new("clinic", "https://ehr.example/fhir", "ehr.example/fhir")
                };
                self.db.add_source(&new).await.unwrap()
            }
        };
        let patient_id = self.patient(&format!("person-{number}")).await;
        let new = NewConnection {
            patient_id,
            source_id,
            source_patient_id: "canary-patient".into(),
            token: Some("canary-token".into()),
        };
        self.db.add_connection(&new).await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, format!("http://{}{path}", self.address))
    }

    async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path).bearer_auth(&self.key)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        let request = self.request(Method::POST, path).bearer_auth(&self.key);
        send(request.json(body)).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Reply {
        let request = self.request(Method::PATCH, path).bearer_auth(&self.key);
        send(request.json(body)).await
    }

    async fn post_once(&self, path: &str, body: &Value, key: &str) -> Reply {
        let request = self.request(Method::POST, path).bearer_auth(&self.key);
        send(request.header("idempotency-key", key).json(body)).await
    }
}

/// A JSON body.
trait JsonBody {
    fn json(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }
}

async fn new_key(db: &Db, scopes: &[Scope]) -> (KeyId, String) {
    let new = NewApiKey {
        name: "test".to_owned(),
        scopes: scopes.to_vec(),
        expires_at: None,
    };
    db.add_api_key(&new).await.unwrap()
}

async fn send(request: reqwest::RequestBuilder) -> Reply {
    let reply = request.send().await.unwrap();
    let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
    let text = reply.text().await.unwrap();
    Reply {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(reply.body["code"], code);
    assert_eq!(reply.body["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(reply.body[member].is_string(), "{member}");
    }
    assert_eq!(
        reply.body["request_id"].as_str(),
        reply.header("x-request-id")
    );
    assert!(!reply.text.contains("canary"), "{}", reply.text);
}

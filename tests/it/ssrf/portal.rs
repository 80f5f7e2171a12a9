//! A portal that leads away from itself, and ports at which somebody would notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// A FHIR server whose patients are called by what their observations do:
/// `next-3` links to the third target, `redirect-3` redirects there.
pub(super) struct Portal {
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Search {
    patient: String,
}

impl Portal {
    /// Listens at an address.
    pub(super) async fn start(host: &str, port: u16, targets: Vec<String>) -> Result<Self> {
        let listener = TcpListener::bind((host, port)).await.context("listen")?;
        let address = listener.local_addr()?;
        // Any path may be a base, so that each source has an identity of its own.
        let router = Router::new()
            .route("/{base}/metadata", get(async || fhir(&capabilities())))
            .route("/{base}/Patient/{id}", get(patient))
            .route("/{base}/Observation", get(observations))
            .with_state(Arc::new(targets));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, server })
    }

    /// The base URL of a source of this name.
    pub(super) fn base_url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn patient(Path((_, id)): Path<(String, String)>) -> Response {
    fhir(&json!({ "resourceType": "Patient", "id": id }))
}

async fn observations(
    State(targets): State<Arc<Vec<String>>>,
    Query(search): Query<Search>,
) -> Response {
    let target = search.patient.split_once('-').and_then(|(way, number)| {
        let target = targets.get(number.parse::<usize>().ok()?)?;
        Some((way, target))
    });
    match target {
        Some(("next", target)) => fhir(&json!({
            "resourceType": "Bundle", "type": "searchset",
            "link": [{ "relation": "next", "url": target }],
        })),
        Some((_, target)) => match HeaderValue::from_bytes(target.as_bytes()) {
            Ok(target) => (StatusCode::FOUND, [(header::LOCATION, target)]).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn capabilities() -> Value {
    json!({
        "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
        "rest": [{ "mode": "server", "resource": [
            { "type": "Patient", "interaction": [{ "code": "read" }] },
            { "type": "Observation", "interaction": [{ "code": "search-type" }],
              "searchParam": [{ "name": "patient", "type": "reference" }] },
        ]}],
    })
}

fn fhir(resource: &Value) -> Response {
    let kind = HeaderValue::from_static("application/fhir+json");
    ([(header::CONTENT_TYPE, kind)], resource.to_string()).into_response()
}

/// A port of this machine; who connects is counted.
pub(super) struct Trap {
    port: u16,
    count: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Trap {
    pub(super) async fn open() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let listening = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self {
            port,
            count,
            listening,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A port of this machine at which nobody listens, and that nobody else gets.
pub(super) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(super) fn take() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self(socket))
    }

    pub(super) fn port(&self) -> Result<u16> {
        Ok(self.0.local_addr()?.port())
    }
}

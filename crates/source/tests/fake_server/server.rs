//! The server that answers as a test says, and the client that asks it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chartlift_source::{Access, Auth, Limits, Secret, SourceClient, StreamPlan};
use guard::{Allow, Guard};
use tokio::net::TcpListener;
use url::Url;

pub(crate) type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

pub(crate) const PATIENT: &str = r#"{"resourceType":"Patient","id":"p"}"#;
pub(crate) const EMPTY: &str = r#"{"resourceType":"Bundle","type":"searchset"}"#;

/// A server that gives every request to `answer`; its base URL and what it saw.
pub(crate) async fn fake_server<R: IntoResponse>(
    answer: impl Fn(&str) -> R + Clone + Send + Sync + 'static,
) -> (Url, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let target = request.uri().to_string();
        log.lock()
            .unwrap()
            .push((target.clone(), request.headers().clone()));
        let answer: Response = answer(&target).into_response();
        async move { answer }
    });
    let (listener, base) = listen().await;
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, seen)
}

/// A socket on a free port, and the base URL of a server there.
pub(crate) async fn listen() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    (listener, base)
}

pub(crate) fn limits() -> Limits {
    Limits {
        body_bytes_max: 64 << 10,
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

pub(crate) fn client(base: &Url) -> SourceClient {
    SourceClient::new(
        base.clone(),
        Auth::Bearer(Secret::new("hush-token")),
        limits(),
        &loopback(),
    )
    .unwrap()
}

/// A guard that lets the server of a test through.
pub(crate) fn loopback() -> Guard {
    Guard::new(Allow::parse(&["127.0.0.1/32"]).unwrap())
}

pub(crate) fn search(resource_type: &str, parameter: &str) -> StreamPlan {
    StreamPlan::new(
        resource_type,
        Access::Search {
            parameter: parameter.to_owned(),
        },
    )
}

pub(crate) fn targets(seen: &Seen) -> Vec<String> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|(target, _)| target.clone())
        .collect()
}

/// What a log would show of an error: its text, its causes and its `Debug`.
pub(crate) fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

//! A server that counts what it is asked, and names that lead to it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::resolve::Lookup;

/// A server on an address of this machine; it counts what it is asked.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(ip: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let app =
            Router::new()
                .route("/", get(|| async { "here" }))
                .route("/large", get(|| async { "x".repeat(4096) }))
                .route("/within", get(|| async { redirect("/") }))
                .route(
                    "/metadata",
                    get(|| async { redirect("http://169.254.169.254/") }),
                )
                .route("/loop", get(|| async { redirect("/loop") }))
                .route(
                    "/to-localhost",
                    get(move || async move {
                        redirect(&format!("http://localhost:{}/", address.port()))
                    }),
                );
        let counter = Arc::clone(&asked);
        let app = app.layer(axum::middleware::map_request(
            move |request: axum::extract::Request| {
                counter.fetch_add(1, Ordering::Relaxed);
                async move { request }
            },
        ));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn redirect(to: &str) -> impl IntoResponse + use<> {
    let mut headers = HeaderMap::new();
    headers.insert("location", to.parse().unwrap());
    (StatusCode::FOUND, headers)
}

/// Names whose answers follow one another.
pub(super) fn lookup(answers: &[&[&str]]) -> (Arc<Lookup>, Arc<AtomicUsize>) {
    let answers: VecDeque<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect())
        .collect();
    let (answers, count) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let lookup = move |_name: String| -> crate::resolve::Found {
        counted.fetch_add(1, Ordering::Relaxed);
        let answer = answers.lock().unwrap().pop_front().unwrap_or_default();
        Box::pin(async move { Ok(answer) })
    };
    (Arc::new(lookup), count)
}

//! The REST API: health, and what there is of connections, destinations, pulls
//! and exports. It reads the database and nothing else; `views` gives rows their
//! shape on the wire, `problem` gives errors theirs.
//!
//! Invariant: no answer holds a resource, a source's patient id or a secret, and
//! until there are keys it listens on loopback only and answers only requests
//! addressed to this machine.

mod guard;
mod list;
mod problem;
mod routes;
#[cfg(test)]
mod tests;
pub mod views;

use std::future::Future;
use std::io;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;
use db::Db;
use tokio::net::TcpListener;

use crate::problem::Problem;

/// Answers requests on `listener` until `shutdown` ends and the open ones are
/// answered.
///
/// # Errors
/// If `listener` can be reached from other machines, or the system ends it.
pub async fn serve(
    db: Db,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the API has no keys yet, so it does not listen on {address}: use 127.0.0.1"),
        ));
    }
    axum::serve(listener, router(db))
        .with_graceful_shutdown(shutdown)
        .await
}

fn router(db: Db) -> Router {
    Router::new()
        .route("/healthz", get(routes::health))
        .route("/readyz", get(routes::ready))
        .route("/v1/connections", get(routes::connections))
        .route("/v1/destinations", get(routes::destinations))
        .route("/v1/exports", get(routes::exports))
        .route("/v1/exports/{id}", get(routes::export))
        .route("/v1/pulls", get(routes::pulls))
        .route("/v1/pulls/{id}", get(routes::pull))
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::method())
        .layer(from_fn(guard::local_only))
        .layer(from_fn(guard::catch_panics))
        .with_state(db)
}

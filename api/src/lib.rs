//! The REST API. It reads and changes the database and nothing else: a run that is
//! asked for is a row, and Dispatch, in a worker, starts its workflow. `views` gives
//! rows their shape on the wire, `problem` gives errors theirs.
//!
//! Invariant: every route but health, our public keys and the OpenAPI document needs a key with the
//! right scope; no answer holds a token or a source's patient id, and resources
//! only where the scope is `phi`.

mod around;
mod auth;
mod checks;
mod entity;
mod extract;
mod idempotency;
mod list;
mod openapi;
mod problem;
mod record;
mod routes;
#[cfg(test)]
mod tests;
pub mod views;
mod wait;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use db::Db;
use records::Store;
use tokio::net::TcpListener;

pub use crate::checks::{CheckedBase, Checks, Reason};
use crate::idempotency::InProgress;
pub use crate::openapi::document;
use crate::problem::Problem;

/// The largest body a request may have.
const BODY_MAX_BYTES: usize = 1 << 20;

/// What the routes stand on.
#[derive(Clone)]
pub struct App {
    db: Db,
    store: Store,
    checks: Arc<dyn Checks>,
    in_progress: InProgress,
}

impl App {
    /// An API over a database and a record store.
    #[must_use]
    pub fn new(db: Db, store: Store, checks: Arc<dyn Checks>) -> Self {
        Self {
            db,
            store,
            checks,
            in_progress: InProgress::default(),
        }
    }
}

/// Answers requests on `listener` until `shutdown` ends and the open ones are
/// answered.
///
/// # Errors
/// If the system ends it.
pub async fn serve(
    app: App,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(app))
        .with_graceful_shutdown(shutdown)
        .await
}

fn router(app: App) -> Router {
    let (routes, _) = routes::all().split_for_parts();
    routes
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::method())
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(from_fn(around::answer))
        .with_state(app)
}

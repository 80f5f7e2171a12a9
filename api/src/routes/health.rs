//! Whether the process and its database are well; no key is needed.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::problem::Problem;

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `up` or `ready`.
    status: &'static str,
}

/// Whether the process is up
#[utoipa::path(get, path = "/healthz", operation_id = "health", tag = "health",
    responses((status = 200, description = "It is.", body = Health)))]
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "up" })
}

/// Whether the database answers
#[utoipa::path(get, path = "/readyz", operation_id = "readiness", tag = "health",
    responses((status = 200, description = "It does.", body = Health)))]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Health>, Problem> {
    match app.db.pulls(None, None, 1).await {
        Ok(_) => Ok(Json(Health { status: "ready" })),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            Err(Problem::unready())
        }
    }
}

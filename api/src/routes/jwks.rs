//! `/.well-known/jwks.json`: our public keys, for the portals that we sign for. No
//! key is needed, and whoever asks may keep the answer for an hour: a new key signs
//! only when no older answer is kept any more.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::App;
use crate::problem::Problem;

/// As long as `activities::JWKS_CACHE`; the system test `pull_smart` holds them together.
const CACHE: &str = "public, max-age=3600";

/// A JSON Web Key Set (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySet)]
pub(crate) struct KeySet {
    /// The public halves of our signing keys, the newest first.
    #[schema(value_type = Vec<PublicKey>)]
    keys: Vec<Box<RawValue>>,
}

/// A public key: RSA with `n` and `e`, or elliptic with `crv`, `x` and `y`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it says how a stored key looks")]
pub(crate) struct PublicKey {
    #[schema(example = "EC")]
    kty: String,
    /// Its name: the thumbprint of RFC 7638.
    kid: String,
    #[schema(example = "ES384")]
    alg: String,
    #[schema(rename = "use", example = "sig")]
    usage: String,
    key_ops: Vec<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Our public signing keys
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "readKeySet", tag = "portals",
    responses((status = 200, description = "The key set. It may be kept for an hour.", body = KeySet)))]
pub(crate) async fn read(State(app): State<App>) -> Result<Response, Problem> {
    let keys = app.db.published_keys().await?;
    let keys: Result<Vec<_>, _> = keys.into_iter().map(RawValue::from_string).collect();
    let keys = keys.map_err(|_| Problem::internal())?;
    Ok(([(CACHE_CONTROL, CACHE)], Json(KeySet { keys })).into_response())
}

//! The endpoints: which there are, discovery, authorize, revoke, and the doors of tests.
//! The token endpoint: `token.rs`.

use super::client::{Fields, client};
use super::grants::Issued;
use super::journal::TokenRequest;
use super::token::{Refusal, token};
use super::{Smart, SmartClient, SmartKnobs, page};
use crate::portal::Portal;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

const SCOPES: &str = "launch/patient patient/*.rs offline_access system/*.rs";

#[derive(Clone)]
pub(super) struct Server {
    pub(super) smart: Smart,
    pub(super) portal: Portal,
}

/// Whether a path under `/fhir` needs no token.
pub(crate) fn public(path: &str) -> bool {
    matches!(
        path,
        "/fhir/metadata" | "/fhir/.well-known/smart-configuration"
    )
}

/// The endpoints of one portal.
pub(crate) fn router(smart: Smart, portal: Portal) -> Router {
    Router::new()
        .route("/fhir/.well-known/smart-configuration", get(configuration))
        .route("/auth/authorize", get(authorize).post(page::decided))
        .route("/auth/token", post(token))
        .route("/auth/revoke", post(revoke))
        .route("/_smart/knobs", get(knobs).put(set_knobs))
        .route("/_smart/clients", put(put_client))
        .route("/_smart/grants", post(grant))
        .route("/_smart/log", get(log))
        .with_state(Server { smart, portal })
}

/// The root that the client asked, so that the portal works behind another name.
pub(super) fn root(server: &Server, headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let asked = host.map(|host| format!("http://{host}"));
    asked.unwrap_or_else(|| server.portal.base().origin().ascii_serialization())
}

async fn configuration(State(server): State<Server>, headers: HeaderMap) -> Json<Value> {
    let root = root(&server, &headers);
    Json(json!({
        "issuer": format!("{root}/fhir"),
        "authorization_endpoint": format!("{root}/auth/authorize"),
        "token_endpoint": format!("{root}/auth/token"),
        "revocation_endpoint": format!("{root}/auth/revoke"),
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": SCOPES.split(' ').collect::<Vec<_>>(),
        "capabilities": ["launch-standalone", "client-public", "client-confidential-symmetric",
            "client-confidential-asymmetric", "context-standalone-patient", "permission-offline",
            "permission-patient", "permission-v2"],
    }))
}

/// What becomes of a request to authorize that is as it should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decision {
    Approve,
    Deny,
    /// The patient is asked.
    Ask,
}

/// Approves at once, for the patient that `patient` names, or the first one; or asks.
async fn authorize(State(server): State<Server>, Query(asked): Query<Fields>) -> Response {
    let decision = match server.smart.knobs().consent_page {
        true => Decision::Ask,
        false => Decision::Approve,
    };
    decide(&server, &asked, decision)
}

/// Judges a request to authorize, and sends the patient back to the client with what
/// was decided.
pub(super) fn decide(server: &Server, asked: &Fields, decision: Decision) -> Response {
    let field = |name: &str| asked.get(name).map_or("", String::as_str);
    let Some(client) = server.smart.client(field("client_id")) else {
        return refused("The client is not known.");
    };
    let Ok(mut back) = Url::parse(field("redirect_uri")) else {
        return refused("redirect_uri is not a URL.");
    };
    let challenge = asked.get("code_challenge").cloned();
    let is_public = client.secret.is_none() && client.jwks.is_none();
    let problem = if field("response_type") != "code" {
        Some("unsupported_response_type")
    } else if (challenge.is_some() && field("code_challenge_method") != "S256")
        || (challenge.is_none() && is_public)
    {
        Some("invalid_request")
    } else {
        None
    };
    let answer = match (problem, decision) {
        (Some(error), _) => ("error", error.to_owned()),
        (None, Decision::Ask) => return page::form(&server.portal, asked),
        (None, Decision::Deny) => ("error", "access_denied".to_owned()),
        (None, Decision::Approve) => {
            let first = server.portal.patients().into_iter().next();
            let first = first.map(|patient| patient.id).unwrap_or_default();
            let patient = asked.get("patient").unwrap_or(&first);
            let code = server.smart.grants().code(
                &client.id,
                field("redirect_uri"),
                patient,
                field("scope"),
                challenge,
            );
            ("code", code)
        }
    };
    back.query_pairs_mut()
        .append_pair(answer.0, &answer.1)
        .append_pair("state", field("state"));
    (StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response()
}

/// What a person is told who cannot be sent back to the client.
pub(super) fn refused(what: &str) -> Response {
    (StatusCode::BAD_REQUEST, what.to_owned()).into_response()
}

/// RFC 7009: whatever token it is, the answer is 200.
async fn revoke(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
    let token_url = format!("{}/auth/token", root(&server, &headers));
    match client(&server.smart, &headers, &fields, &token_url) {
        Ok((client, _)) => {
            let token = fields.get("token").map_or("", String::as_str);
            server.smart.grants().revoke_by_token(&client.id, token);
            StatusCode::OK.into_response()
        }
        Err(Refusal(error, _)) => {
            (StatusCode::UNAUTHORIZED, Json(json!({ "error": error }))).into_response()
        }
    }
}

async fn knobs(State(server): State<Server>) -> Json<SmartKnobs> {
    Json(server.smart.knobs())
}

async fn set_knobs(State(server): State<Server>, Json(knobs): Json<SmartKnobs>) -> StatusCode {
    server.smart.set_knobs(knobs);
    StatusCode::NO_CONTENT
}

async fn put_client(State(server): State<Server>, Json(client): Json<SmartClient>) -> StatusCode {
    server.smart.put_client(client);
    StatusCode::NO_CONTENT
}

/// A grant to make without a browser.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    client_id: String,
    patient: String,
    #[serde(default)]
    scope: String,
}

async fn grant(State(server): State<Server>, Json(new): Json<NewGrant>) -> Json<Issued> {
    let issued = server.smart.grant(&new.client_id, &new.patient, &new.scope);
    Json(issued)
}

async fn log(State(server): State<Server>) -> Json<Vec<TokenRequest>> {
    Json(server.smart.token_requests())
}

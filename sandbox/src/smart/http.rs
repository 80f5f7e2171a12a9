//! The endpoints: discovery, authorize, token, revoke, and the doors of tests.

use super::grants::Issued;
use super::journal::{TokenRequest, Underway};
use super::{Smart, SmartClient, SmartKnobs, assertion, page};
use crate::portal::Portal;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use url::{Url, form_urlencoded};

const SCOPES: &str = "launch/patient patient/*.rs offline_access system/*.rs";
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request carries: names to values.
pub(super) type Fields = BTreeMap<String, String>;

#[derive(Clone)]
pub(super) struct Server {
    smart: Smart,
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
fn root(server: &Server, headers: &HeaderMap) -> String {
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

/// A refusal as RFC 6749, 5.2 has it.
struct Refusal(&'static str, String);

async fn token(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let mut underway = Underway::begin(&server.smart);
    let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
    let entry = &mut underway.entry;
    entry.grant_type = fields.get("grant_type").cloned().unwrap_or_default();
    entry.grant = fields
        .get("refresh_token")
        .and_then(|token| server.smart.grants().of_refresh(token))
        .unwrap_or_default();
    let knobs = server.smart.knobs();
    tokio::time::sleep(Duration::from_millis(knobs.token_latency_ms)).await;
    if knobs.token_hang {
        std::future::pending::<()>().await;
    }
    let outage = server.smart.take(|knobs| {
        let counted = knobs.token_fail_next > 0;
        knobs.token_fail_next = knobs.token_fail_next.saturating_sub(1);
        knobs.token_status.or(counted.then_some(503))
    });
    let (status, body) = match outage {
        Some(status) => (status, "<html>Come back later.</html>".to_owned()),
        None => {
            let token_url = format!("{}/auth/token", root(&server, &headers));
            let answer = exchange(
                &server.smart,
                &headers,
                &fields,
                &token_url,
                &mut underway.entry,
            );
            match answer {
                Ok(issued) => (200, answer_of(&issued, &knobs).to_string()),
                Err(Refusal(error, what)) => {
                    underway.entry.error = Some(error.to_owned());
                    let status = if error == "invalid_client" { 401 } else { 400 };
                    let body = json!({ "error": error, "error_description": what });
                    (status, body.to_string())
                }
            }
        }
    };
    tokio::time::sleep(Duration::from_millis(knobs.answer_latency_ms)).await;
    underway.entry.status = status;
    let kind = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        headers.insert(name, HeaderValue::try_from(value).expect("ASCII"));
    };
    set(header::CACHE_CONTROL, "no-store");
    set(header::DATE, &date(server.smart.clock_s()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        set(header::RETRY_AFTER, "1");
    }
    response
}

fn answer_of(issued: &Issued, knobs: &SmartKnobs) -> Value {
    let mut answer = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "scope": issued.scope,
    });
    if !knobs.omit_expires_in {
        let life_ms = knobs.token_lifetime_ms;
        answer["expires_in"] = match life_ms % 1000 {
            0 => (life_ms / 1000).into(),
            _ => (life_ms as f64 / 1000.0).into(),
        };
    }
    if let Some(refresh) = &issued.refresh_token {
        answer["refresh_token"] = refresh.as_str().into();
    }
    if let Some(patient) = knobs.other_patient.as_ref().or(issued.patient.as_ref()) {
        answer["patient"] = patient.as_str().into();
    }
    answer
}

fn exchange(
    smart: &Smart,
    headers: &HeaderMap,
    fields: &Fields,
    token_url: &str,
    entry: &mut TokenRequest,
) -> Result<Issued, Refusal> {
    let (client, is_proven) = client(smart, headers, fields, token_url)?;
    entry.client_id.clone_from(&client.id);
    let knobs = smart.knobs();
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let issued = match field("grant_type") {
        "authorization_code" => {
            let code = smart.grants().take_code(field("code"));
            let void = || Refusal("invalid_grant", "The code is not good.".into());
            let code = code.ok_or_else(void)?;
            let verifier = BASE64URL_NOPAD.encode(&Sha256::digest(field("code_verifier")));
            if code.client_id != client.id
                || code.redirect_uri != field("redirect_uri")
                || code
                    .challenge
                    .is_some_and(|challenge| challenge != verifier)
            {
                return Err(void());
            }
            let lasting = code.scope.split(' ').any(|scope| scope == "offline_access");
            let patient = Some(code.patient.as_str());
            smart
                .grants()
                .open(&client.id, patient, &code.scope, lasting, &knobs)
        }
        "refresh_token" => {
            let is_over = smart.take(|knobs| {
                let counted = knobs.invalid_grant_next > 0;
                knobs.invalid_grant_next = knobs.invalid_grant_next.saturating_sub(1);
                counted
            });
            if is_over {
                smart.revoke(entry.grant);
            }
            let token = field("refresh_token");
            let issued = smart.grants().refresh(&client.id, token, &knobs);
            issued
                .ok_or_else(|| Refusal("invalid_grant", "The refresh token is not good.".into()))?
        }
        "client_credentials" if is_proven => {
            smart
                .grants()
                .open(&client.id, None, field("scope"), false, &knobs)
        }
        "client_credentials" => {
            return Err(Refusal(
                "unauthorized_client",
                "It must prove itself.".into(),
            ));
        }
        _ => return Err(Refusal("unsupported_grant_type", "It is not known.".into())),
    };
    entry.grant = issued.grant;
    Ok(issued)
}

/// The client of a request, and whether it has proven to be it: one that has something to prove itself
/// with must.
fn client(
    smart: &Smart,
    headers: &HeaderMap,
    fields: &Fields,
    token_url: &str,
) -> Result<(SmartClient, bool), Refusal> {
    let refuse = |what: &str| Refusal("invalid_client", what.to_owned());
    let known = |id: &str| {
        smart
            .client(id)
            .ok_or_else(|| refuse("The client is not known."))
    };
    if let Some(assertion) = fields.get("client_assertion") {
        if fields.get("client_assertion_type").map(String::as_str) != Some(ASSERTION_TYPE) {
            return Err(refuse("client_assertion_type is another."));
        }
        let id = assertion::prove(smart, assertion, token_url);
        let id = id.map_err(|what| refuse(&format!("The assertion is refused: {what}.")))?;
        return Ok((known(&id)?, true));
    }
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(encoded) => {
            let bytes = BASE64.decode(encoded.as_bytes()).unwrap_or_default();
            let text = String::from_utf8(bytes).unwrap_or_default();
            let (id, secret) = text.split_once(':').unwrap_or_default();
            // RFC 6749, 2.3.1: both are form-encoded first.
            let decoded = |text: &str| {
                let pairs = format!("v={text}");
                let mut pairs = form_urlencoded::parse(pairs.as_bytes());
                pairs.next().map(|(_, value)| value.into_owned())
            };
            (decoded(id).unwrap_or_default(), decoded(secret))
        }
        None => {
            let id = fields.get("client_id").cloned().unwrap_or_default();
            (id, fields.get("client_secret").cloned())
        }
    };
    let client = known(&id)?;
    match (&client.secret, &client.jwks, secret) {
        (None, None, None) => Ok((client, false)),
        (Some(right), _, Some(given)) if *right == given => Ok((client, true)),
        _ => Err(refuse("The client has not proven to be it.")),
    }
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

fn date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap_or_default()
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

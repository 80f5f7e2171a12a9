//! The token endpoint: what is granted to whom, and how it is answered.

use super::client::{Fields, client};
use super::grants::Issued;
use super::http::{Server, root};
use super::journal::{TokenRequest, Underway};
use super::{Smart, SmartKnobs};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use url::form_urlencoded;

/// A refusal as RFC 6749, 5.2 has it.
pub(super) struct Refusal(pub(super) &'static str, pub(super) String);

pub(super) async fn token(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
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

fn date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap_or_default()
}

//! FHIR answers: media type, and OperationOutcomes for everything refused.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const FHIR_JSON: &str = "application/fhir+json;charset=utf-8";

/// An answer with a FHIR body.
pub(crate) fn fhir(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response {
    (status, [(header::CONTENT_TYPE, FHIR_JSON)], body.into()).into_response()
}

/// An OperationOutcome with one issue of severity `error`.
pub(crate) fn outcome(status: u16, diagnostics: &str) -> Response {
    issue(status, code_of(status), diagnostics)
}

fn code_of(status: u16) -> &'static str {
    match status {
        401 => "login",
        403 => "forbidden",
        404 => "not-found",
        405 => "not-supported",
        410 => "deleted",
        429 => "throttled",
        503 | 504 => "transient",
        500.. => "exception",
        _ => "invalid",
    }
}

/// An OperationOutcome with one issue of severity `error` and this code.
pub(crate) fn issue(status: u16, code: &str, diagnostics: &str) -> Response {
    let body = json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": code, "diagnostics": diagnostics }],
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = fhir(status, body.to_string());
    let headers = response.headers_mut();
    match status.as_u16() {
        401 => drop(headers.insert(
            header::WWW_AUTHENTICATE,
            "Bearer realm=\"sandbox\"".parse().expect("ASCII"),
        )),
        429 | 503 => drop(headers.insert(header::RETRY_AFTER, 1.into())),
        _ => {}
    }
    response
}

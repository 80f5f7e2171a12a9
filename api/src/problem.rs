//! Errors as the API tells them: RFC 9457 problem documents. What went wrong
//! inside goes to the log; the caller gets a code that stays the same and a
//! sentence that says what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
}

impl Problem {
    pub(crate) fn no_route() -> Self {
        let detail = "There is nothing under this path. The lists are /v1/connections, /v1/destinations, \
                      /v1/pulls and /v1/exports.";
        Self::new(StatusCode::NOT_FOUND, "no_such_route", detail)
    }

    pub(crate) fn method() -> Self {
        let detail =
            "This path does not take this method; the header `Allow` names those it takes.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(crate) fn parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail)
    }

    pub(crate) fn foreign_host() -> Self {
        let detail = "The API has no keys yet and answers only requests addressed to this machine: \
                      use 127.0.0.1 or localhost.";
        Self::new(StatusCode::FORBIDDEN, "foreign_host", detail)
    }

    pub(crate) fn internal() -> Self {
        let detail = "The server could not answer. Its log says why; asking again may help.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn unready() -> Self {
        let detail = "The database does not answer. The server's log says why.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            detail,
        )
    }

    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            status,
            code,
            detail,
        }
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::NotFound { noun, id } => {
                let detail = format!("There is no {noun} {id}; /v1/{noun}s lists what there is.");
                Self::new(StatusCode::NOT_FOUND, "not_found", detail)
            }
            error => {
                tracing::error!(%error, "a request could not be answered");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&document).expect("text and numbers serialise");
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

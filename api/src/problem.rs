//! Errors as the API tells them: RFC 9457 problem documents. What went wrong
//! inside goes to the log; the caller gets a code that stays the same, with a page
//! in `docs/errors/`, and a sentence that says what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::around;
use crate::checks::Reason;

/// Where the pages on the codes are.
const PAGES: &str = "https://github.com/chartlift/chartlift/blob/main/docs/errors";

/// A code, and the status it comes with.
pub(crate) type Code = (u16, &'static str);

/// Every code the API answers with; each has a page in `docs/errors/`.
pub(crate) const CODES: &[Code] = &[
    INVALID_PARAMETER,
    INVALID_BODY,
    INVALID_IDEMPOTENCY_KEY,
    UNAUTHENTICATED,
    MISSING_SCOPE,
    NO_SUCH_ROUTE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    CONFLICT,
    CURSOR_EXPIRED,
    IDEMPOTENCY_IN_PROGRESS,
    PRECONDITION_FAILED,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    ADDRESS_REFUSED,
    INVALID_VALUE,
    IDEMPOTENCY_KEY_REUSED,
    HEADERS_TOO_LARGE,
    INTERNAL,
    DATABASE_UNAVAILABLE,
    TIMEOUT,
];
pub(crate) const INVALID_PARAMETER: Code = (400, "invalid_parameter");
pub(crate) const INVALID_BODY: Code = (400, "invalid_body");
pub(crate) const INVALID_IDEMPOTENCY_KEY: Code = (400, "invalid_idempotency_key");
pub(crate) const UNAUTHENTICATED: Code = (401, "unauthenticated");
pub(crate) const MISSING_SCOPE: Code = (403, "missing_scope");
pub(crate) const NO_SUCH_ROUTE: Code = (404, "no_such_route");
pub(crate) const NOT_FOUND: Code = (404, "not_found");
pub(crate) const METHOD_NOT_ALLOWED: Code = (405, "method_not_allowed");
pub(crate) const CONFLICT: Code = (409, "conflict");
pub(crate) const IDEMPOTENCY_IN_PROGRESS: Code = (409, "idempotency_in_progress");
pub(crate) const CURSOR_EXPIRED: Code = (410, "cursor_expired");
pub(crate) const PRECONDITION_FAILED: Code = (412, "precondition_failed");
pub(crate) const BODY_TOO_LARGE: Code = (413, "body_too_large");
pub(crate) const UNSUPPORTED_MEDIA_TYPE: Code = (415, "unsupported_media_type");
pub(crate) const ADDRESS_REFUSED: Code = (422, "address_refused");
pub(crate) const INVALID_VALUE: Code = (422, "invalid_value");
pub(crate) const IDEMPOTENCY_KEY_REUSED: Code = (422, "idempotency_key_reused");
pub(crate) const HEADERS_TOO_LARGE: Code = (431, "headers_too_large");
pub(crate) const INTERNAL: Code = (500, "internal");
pub(crate) const DATABASE_UNAVAILABLE: Code = (503, "database_unavailable");
pub(crate) const TIMEOUT: Code = (504, "timeout");

/// An error as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
}

/// An error: what went wrong and what to do (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// A page on this code.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong: stable, to be compared.
    code: &'static str,
    /// What went wrong here and what to do, for people.
    detail: String,
    /// The request's id, as in the header `X-Request-Id` and in the server's log.
    request_id: String,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn no_route() -> Self {
        let detail = "There is nothing under this path; /v1/openapi.json lists what there is.";
        Self::new(NO_SUCH_ROUTE, detail)
    }

    pub(crate) fn method() -> Self {
        let detail =
            "This path does not take this method; the header `Allow` names those it takes.";
        Self::new(METHOD_NOT_ALLOWED, detail)
    }

    pub(crate) fn parameter(detail: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMETER, detail)
    }

    pub(crate) fn changed() -> Self {
        let detail = "It has changed since you read it: read it again, then change it.";
        Self::new(PRECONDITION_FAILED, detail)
    }

    pub(crate) fn internal() -> Self {
        let detail = "The server could not answer. Its log says why; asking again may help.";
        Self::new(INTERNAL, detail)
    }

    pub(crate) fn unready() -> Self {
        let detail = "The database does not answer. The server's log says why.";
        Self::new(DATABASE_UNAVAILABLE, detail)
    }
}

impl From<Reason> for Problem {
    fn from(why: Reason) -> Self {
        match why {
            Reason::Unusable(why) => Self::new(INVALID_VALUE, why),
            Reason::AddressRefused(why) => Self::new(ADDRESS_REFUSED, why),
        }
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::NotFound { noun, id } => {
                let id: String = id.chars().take(128).collect();
                Self::new(NOT_FOUND, format!("There is no {noun} `{id}`."))
            }
            db::Error::Conflict { what } => Self::new(CONFLICT, what),
            db::Error::Changed => Self::changed(),
            db::Error::Unavailable(error) => {
                tracing::error!(%error, "the database did not answer");
                Self::unready()
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
        let (status, code) = self.code;
        let status = StatusCode::from_u16(status).expect("the codes have statuses");
        let document = Document {
            r#type: format!("{PAGES}/{code}.md"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: self.detail,
            request_id: around::request_id(),
        };
        let body = serde_json::to_vec(&document).expect("text and numbers serialise");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut answer = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"chartlift\"");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_page_and_each_page_its_code() {
        let folder = "../docs/errors";
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        let mut codes: Vec<String> = CODES.iter().map(|(_, code)| format!("{code}.md")).collect();
        pages.sort();
        codes.sort();
        assert_eq!(pages, codes);
    }
}

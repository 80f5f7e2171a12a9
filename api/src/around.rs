//! What stands around every route: an id for each request, limits of time and of
//! headers, and an answer even where a handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use uuid::Uuid;

use crate::problem::{HEADERS_TOO_LARGE, Problem, TIMEOUT};

/// Longer than any `wait`.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const HEADERS_MAX_BYTES: usize = 16 << 10;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that is being answered.
pub(crate) fn request_id() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Answers a request within its limits, under an id of its own.
pub(crate) async fn answer(request: Request, next: Next) -> Response {
    let id = format!("req_{}", Uuid::now_v7().simple());
    let value = HeaderValue::from_str(&id).expect("hexadecimal digits");
    let mut response = CURRENT.scope(id, within_limits(request, next)).await;
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

async fn within_limits(request: Request, next: Next) -> Response {
    let headers = request.headers().iter();
    let size: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > HEADERS_MAX_BYTES {
        let detail = format!("The headers are over {HEADERS_MAX_BYTES} bytes.");
        return Problem::new(HEADERS_TOO_LARGE, detail).into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The panic hook has told the log.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::internal().into_response(),
        Err(_) => {
            let detail = "The answer took too long; asking again may help.";
            Problem::new(TIMEOUT, detail).into_response()
        }
    };
    let status = response.status().as_u16();
    tracing::debug!(request_id = request_id(), %method, path = shown(&path), status, "answered");
    response
}

/// A path without what may name a person: an external id may stand in it.
fn shown(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let is_ours = segment.len() < 24
            && segment
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c == '1');
        if is_ours { segment } else { "…" }
    });
    segments.collect::<Vec<_>>().join("/")
}

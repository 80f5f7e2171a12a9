//! Single things on the wire: a strong `ETag` over the body, `If-None-Match` for
//! readers, `If-Match` for those who change.

use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// A thing, as JSON with its tag.
pub(crate) struct Entity {
    body: Vec<u8>,
    tag: String,
}

impl Entity {
    pub(crate) fn new(view: &impl Serialize) -> Self {
        let body = serde_json::to_vec(view).expect("views serialise");
        let digest = Sha256::digest(&body);
        let tag = format!("\"{}\"", BASE64URL_NOPAD.encode(&digest[..16]));
        Self { body, tag }
    }

    /// The thing, or 304 for who has it already.
    pub(crate) fn read(self, asked: &HeaderMap) -> Response {
        if named(asked, &IF_NONE_MATCH, &self.tag) == Some(true) {
            let tag = HeaderValue::from_str(&self.tag).expect("base64");
            return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
        }
        self.with(StatusCode::OK)
    }

    /// Refuses to change a thing that is no longer as the caller knows it. Whoever then
    /// changes it tells the database what was seen, if [`sets_condition`].
    pub(crate) fn may_change(&self, asked: &HeaderMap) -> Result<(), Problem> {
        if named(asked, &IF_MATCH, &self.tag) == Some(false) {
            return Err(Problem::changed());
        }
        Ok(())
    }

    /// The thing, with a status of success.
    pub(crate) fn with(self, status: StatusCode) -> Response {
        let tag = HeaderValue::from_str(&self.tag).expect("base64");
        let kind = HeaderValue::from_static("application/json");
        (status, [(CONTENT_TYPE, kind), (ETAG, tag)], self.body).into_response()
    }

    /// The thing that was made, and where it is.
    pub(crate) fn created(self, path: &str) -> Response {
        let mut response = self.with(StatusCode::CREATED);
        let path = HeaderValue::from_str(path).expect("a path of ours");
        response.headers_mut().insert(LOCATION, path);
        response
    }

    /// A run that will be, or is being, carried out, and where it is.
    pub(crate) fn accepted(self, path: &str) -> Response {
        let mut response = self.with(StatusCode::ACCEPTED);
        let path = HeaderValue::from_str(path).expect("a path of ours");
        let headers = response.headers_mut();
        headers.insert(LOCATION, path);
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// Whether the caller changes a thing only as they know it.
pub(crate) fn sets_condition(asked: &HeaderMap) -> bool {
    asked.contains_key(IF_MATCH)
}

/// Whether a condition names a tag; none where there is no such condition.
fn named(headers: &HeaderMap, condition: &axum::http::HeaderName, tag: &str) -> Option<bool> {
    let mut given = headers.get_all(condition).iter().peekable();
    given.peek()?;
    let mut tags = given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    Some(tags.any(|named| matches!(named.trim(), "*") || named.trim() == tag))
}

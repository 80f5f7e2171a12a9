//! `Idempotency-Key`: one effect and one answer, however often a POST is sent. The
//! key's row stands in the transaction of the effect; the answer is added when it
//! is known, and the first one stays. A row without answer (the process ended in
//! between) says what was done, and the answer is made from that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use db::{Answered, Db, Idempotency};
use model::KeyId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::problem::{
    BODY_TOO_LARGE, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED, INVALID_IDEMPOTENCY_KEY,
    Problem,
};
use crate::{App, BODY_MAX_BYTES};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_MAX_LEN: usize = 255;
/// An answer is a row of a few kilobytes.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// The headers that belong to an answer.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// What a request asks under its key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) idempotency: Idempotency,
    /// What was made, where the effect has happened and only the answer is missing.
    pub(crate) done: Option<String>,
}

/// The keys that are being answered in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct InProgress(Arc<Mutex<HashSet<String>>>);

/// Takes a key out again, however its request ends.
struct Held(InProgress, String);

impl InProgress {
    fn hold(&self, key: &str) -> Option<Held> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned())
            .then(|| Held(self.clone(), key.to_owned()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut keys = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.1);
    }
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Does a POST with an `Idempotency-Key` once.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match answer_once(&app, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer_once(app: &App, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key(&request)?;
    let Some(_held) = app.in_progress.hold(&key) else {
        let detail =
            "A request with this Idempotency-Key is being answered: ask again in a moment.";
        return Err(Problem::new(IDEMPOTENCY_IN_PROGRESS, detail));
    };
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX_BYTES)
        .await
        .map_err(|_| Problem::new(BODY_TOO_LARGE, "The body is over 1 MiB, or broke off."))?;
    let fingerprint = fingerprint(parts.uri.path(), &body);
    parts.extensions.insert(Asked {
        idempotency: Idempotency {
            key: key.clone(),
            fingerprint,
        },
        done: None,
    });
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() || response.headers().contains_key(REPLAYED) {
        return Ok(response);
    }
    keep(&app.db, &key, response).await
}

/// What stands in the header.
fn key(request: &Request) -> Result<String, Problem> {
    let mut given = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let key = given.next().and_then(|key| key.to_str().ok());
    let key = key.filter(|key| {
        (1..=KEY_MAX_LEN).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    });
    match (key, given.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => {
            let detail = format!(
                "`Idempotency-Key` is given once: 1 to {KEY_MAX_LEN} visible ASCII characters, such as a random UUID."
            );
            Err(Problem::new(INVALID_IDEMPOTENCY_KEY, detail))
        }
    }
}

pub(crate) fn fingerprint(path: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(body);
    HEXLOWER.encode(&hash.finalize())
}

/// Keeps an answer and gives the one that stays: another server may have been first.
async fn keep(db: &Db, key: &str, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_MAX_BYTES)
        .await
        .map_err(|_| Problem::internal())?;
    let headers = parts.headers.iter().filter(|(name, _)| KEPT.contains(name));
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: headers
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
        body: String::from_utf8(body.to_vec()).map_err(|_| Problem::internal())?,
    };
    let answer = serde_json::to_vec(&answer).map_err(|_| Problem::internal())?;
    db.keep_answer(key, &answer).await?;
    let kept = db.answered(key).await?.and_then(|answered| answered.answer);
    match kept {
        Some(kept) if kept != answer => replay(&kept),
        _ => Ok(Response::from_parts(parts, Body::from(body))),
    }
}

/// A kept answer, marked as given before.
pub(crate) fn replay(answer: &[u8]) -> Result<Response, Problem> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Problem::internal())?;
    let status = StatusCode::from_u16(answer.status).map_err(|_| Problem::internal())?;
    let mut response = (status, Bytes::from(answer.body)).into_response();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    let mark = HeaderValue::from_static("true");
    response.headers_mut().insert(REPLAYED, mark);
    Ok(response)
}

/// What happened under a key; a key that was used for something else, or by
/// somebody else, is refused.
pub(crate) async fn repeated(
    db: &Db,
    caller: KeyId,
    asked: &Idempotency,
) -> Result<Option<Answered>, Problem> {
    let answered = db.answered(&asked.key).await?;
    match answered {
        Some(answered) if answered.api_key_id != caller => {
            let detail = "This Idempotency-Key was used with another API key: take a new one.";
            Err(Problem::new(IDEMPOTENCY_KEY_REUSED, detail))
        }
        Some(answered) if answered.fingerprint != asked.fingerprint => {
            let detail = "This Idempotency-Key was used for another request: take a new one for each request.";
            Err(Problem::new(IDEMPOTENCY_KEY_REUSED, detail))
        }
        answered => Ok(answered),
    }
}

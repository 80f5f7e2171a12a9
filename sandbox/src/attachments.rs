//! Documents: Binary resources, given as they are or as their bytes, and what can go
//! wrong with them.

use crate::errors::{fhir, outcome};
use crate::log::ServedBytes;
use crate::routes::{App, fault_of};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::time::Duration;

const JSON: [&str; 2] = ["application/fhir+json", "application/json+fhir"];
/// Bytes that are sent at once where they come slowly.
const STEP_BYTES: usize = 1 << 16;

/// What is wrong with one document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Document {
    /// It is answered with this status and an OperationOutcome.
    pub status: Option<u16>,
    /// How often it is; left out, ever after. Counts down.
    pub times: Option<u32>,
    /// Its bytes are refused with 406: only the resource is given.
    pub refuses_bytes: bool,
    /// The resource is refused with 406: only its bytes are given.
    pub refuses_resource: bool,
    /// The resource is given, whatever was asked for.
    pub gives_resource: bool,
    /// The media type that its bytes are given as; empty: none.
    pub content_type: Option<String>,
    /// The answer breaks off after so many bytes.
    pub cut_after: Option<usize>,
    /// Before each 64 KiB, so many milliseconds pass.
    pub slow_ms: u64,
    /// It is answered with a redirect there.
    pub redirects_to: Option<String>,
    /// It is called so, and not given again to those who have it.
    pub etag: Option<String>,
}

/// Gives a document.
pub(crate) async fn read(app: &App, id: &str, headers: &HeaderMap) -> Result<Response, Response> {
    fault_of(app, "Binary", false).await?;
    let knobs = app.portal.knob_state().document(id);
    if let Some(status) = knobs.status {
        return Err(outcome(status, "This document is refused."));
    }
    if let Some(place) = knobs.redirects_to {
        let place = [(header::LOCATION, place)];
        return Ok((StatusCode::TEMPORARY_REDIRECT, place).into_response());
    }
    let key = ("Binary".to_owned(), id.to_owned());
    let data = app.portal.data();
    let Some(row) = data.newest(&key) else {
        return Err(match data.is_removed(&key) {
            true => outcome(410, "The resource was deleted."),
            false => outcome(404, "The resource is not known."),
        });
    };
    let resource: Value = serde_json::from_slice(&row.raw).unwrap_or_default();
    let encoded = resource["data"].as_str().unwrap_or_default();
    let bytes = Bytes::from(BASE64.decode(encoded.as_bytes()).unwrap_or_default());
    let has = headers.get(header::IF_NONE_MATCH);
    if knobs.etag.is_some() && has.and_then(|has| has.to_str().ok()) == knobs.etag.as_deref() {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let accept = headers.get(header::ACCEPT);
    let accept = accept
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or("*/*");
    let asks_resource = JSON.iter().any(|name| accept.contains(name));
    let gives_resource = asks_resource || knobs.gives_resource;
    if (gives_resource && knobs.refuses_resource) || (!gives_resource && knobs.refuses_bytes) {
        return Err(outcome(406, "It is not to be had in this form."));
    }
    let mut response = if gives_resource {
        let mut response = fhir(StatusCode::OK, Bytes::new());
        *response.body_mut() = sent(&knobs, row.raw.clone());
        response
    } else {
        let said = resource["contentType"].as_str().unwrap_or_default();
        let kind = knobs
            .content_type
            .clone()
            .unwrap_or_else(|| said.to_owned());
        let length = bytes.len();
        let mut response = sent(&knobs, bytes.clone()).into_response();
        let to = response.headers_mut();
        to.insert(header::CONTENT_LENGTH, length.into());
        if let Ok(kind) = kind.parse::<header::HeaderValue>()
            && !kind.is_empty()
        {
            to.insert(header::CONTENT_TYPE, kind);
        }
        response
    };
    if let Some(Ok(etag)) = knobs.etag.as_ref().map(|etag| etag.parse()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    let is_whole = knobs.cut_after.is_none();
    let served = ServedBytes::of(id, &bytes, is_whole);
    response.extensions_mut().insert(served);
    Ok(response)
}

/// A body of these bytes, slow or cut off where it is to be.
fn sent(knobs: &Document, bytes: Bytes) -> Body {
    if knobs.cut_after.is_none() && knobs.slow_ms == 0 {
        return Body::from(bytes);
    }
    let is_cut = knobs.cut_after.is_some();
    let stop = knobs
        .cut_after
        .map_or(bytes.len(), |end| end.min(bytes.len()));
    let pause = Duration::from_millis(knobs.slow_ms);
    // How far it has come; nothing after the end.
    let parts = futures::stream::unfold(Some(0), move |at: Option<usize>| {
        let bytes = bytes.clone();
        async move {
            let at = at?;
            if at == stop {
                let broken = io::Error::other("the answer breaks off");
                return is_cut.then_some((Err(broken), None));
            }
            tokio::time::sleep(pause).await;
            let next = stop.min(at + STEP_BYTES);
            Some((Ok(bytes.slice(at..next)), Some(next)))
        }
    });
    Body::from_stream(parts)
}

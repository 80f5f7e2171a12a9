//! Bulk exports of one patient: `POST Patient/$export` with `patient`, its status, its
//! files, and a storage beside the portal, at another origin, that refuses credentials
//! as object stores do.

mod files;
mod knobs;

use self::files::{File, files};
use crate::errors::outcome;
use crate::routes::{App, Contents, base_of, fault_of};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use url::Url;

pub use knobs::ExportKnobs;

/// The names under which the knobs that go by type know the kick-off, the status and
/// the files of exports.
const EXPORT: &str = "$export";
const STATUS: &str = "$export-status";
const FILE: &str = "$export-file";
/// Where the storage lies. Its origin is that of the portal under its other name.
pub(crate) const STORAGE: &str = "/storage/";

/// An export.
#[derive(Debug)]
pub(crate) struct Job {
    files: Vec<File>,
    polls: u32,
    /// Stands in the files' URLs.
    generation: u32,
}

/// The kick-off.
pub(crate) async fn begin(
    State(app): State<App>,
    Path((ty, operation)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    if ty != "Patient" || operation != EXPORT {
        return Err(outcome(404, "There is no such operation."));
    }
    fault_of(&app, EXPORT, false).await?;
    if headers.get("prefer").and_then(|value| value.to_str().ok()) != Some("respond-async") {
        return Err(outcome(400, "An export is asynchronous."));
    }
    let patient =
        patient_in(&body).ok_or_else(|| outcome(400, "The parameter patient is required."))?;
    let knobs = app.portal.knobs();
    let files = {
        let data = app.portal.data();
        files(app.portal.compartment(&data, &knobs, &patient), &knobs)
    };
    let id = app.portal.next_search();
    let job = Job {
        files,
        polls: knobs.export.polls,
        generation: 0,
    };
    app.portal.jobs().insert(id, job);
    let place = format!("{}/{STATUS}/{id}", base_of(&app, &headers));
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_LOCATION, place)]).into_response())
}

/// The patient that the kick-off's Parameters name.
fn patient_in(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let parameters = body["parameter"].as_array()?;
    let patient = parameters.iter().find(|of| of["name"] == "patient")?;
    let reference = patient["valueReference"]["reference"].as_str()?;
    reference.strip_prefix("Patient/").map(str::to_owned)
}

/// How far an export is, or its manifest.
pub(crate) async fn status(
    State(app): State<App>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    fault_of(&app, STATUS, false).await?;
    let knobs = app.portal.knobs().export;
    let base = base_of(&app, &headers);
    let mut jobs = app.portal.jobs();
    let job = jobs.get_mut(&id).ok_or_else(unknown)?;
    if job.polls > 0 {
        job.polls -= 1;
        let mut response = StatusCode::ACCEPTED.into_response();
        let wait = knobs.retry_after.map(HeaderValue::try_from);
        if let Some(Ok(wait)) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        return Ok(response);
    }
    let mut manifest = json!({
        "transactionTime": "2024-01-01T00:00:00Z",
        "request": format!("{base}/Patient/{EXPORT}"),
        "requiresAccessToken": !knobs.open_files,
        "output": [],
        "error": [],
    });
    for (number, file) in job.files.iter().enumerate() {
        let name = format!("{}-{number}", job.generation);
        let url = match knobs.open_files {
            true => stored_at(&base, id, &name).to_string(),
            false => format!("{base}/{FILE}/{id}/{name}"),
        };
        let mut entry = json!({ "url": url, "count": file.lines + usize::from(knobs.overcounts) });
        if !knobs.untyped {
            entry["type"] = file.ty.clone().into();
        }
        match manifest[file.member].as_array_mut() {
            Some(list) => list.push(entry),
            None => manifest[file.member] = json!([entry]),
        }
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, manifest.to_string()).into_response())
}

/// Ends an export.
pub(crate) async fn end(State(app): State<App>, Path(id): Path<u64>) -> Result<Response, Response> {
    let ended = app.portal.jobs().remove(&id);
    ended
        .map(|_| StatusCode::ACCEPTED.into_response())
        .ok_or_else(unknown)
}

fn unknown() -> Response {
    outcome(404, "There is no such export.")
}

/// A file of an export that is known, at the URL that it has now.
#[expect(
    clippy::result_large_err,
    reason = "an answer, as the handlers give it"
)]
fn file_of(app: &App, id: u64, name: &str) -> Result<Response, Response> {
    let gone = || outcome(410, "There is no such file any more.");
    let mut jobs = app.portal.jobs();
    let job = jobs.get_mut(&id).ok_or_else(gone)?;
    let (is_moved, is_forgotten) = {
        let knobs = &mut app.portal.knob_state().knobs.export;
        (
            is_due(&mut knobs.files_move_after),
            is_due(&mut knobs.forgets_after),
        )
    };
    job.generation += u32::from(is_moved);
    if is_forgotten {
        jobs.remove(&id);
        return Err(gone());
    }
    let (generation, number) = name.split_once('-').ok_or_else(gone)?;
    if generation.parse() != Ok(job.generation) {
        return Err(gone());
    }
    let number: usize = number.parse().map_err(|_| gone())?;
    let file = job.files.get(number).ok_or_else(gone)?;
    let kind = [(header::CONTENT_TYPE, "application/fhir+ndjson")];
    let mut response = (kind, file.body.clone()).into_response();
    response
        .extensions_mut()
        .insert(Contents(file.served.clone()));
    Ok(response)
}

/// Counts down; at zero it is due, and turns itself off.
fn is_due(after: &mut Option<u32>) -> bool {
    match after {
        Some(0) => {
            *after = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

/// A file at the portal.
pub(crate) async fn file(
    State(app): State<App>,
    Path((id, name)): Path<(u64, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    fault_of(&app, FILE, false).await?;
    if app.portal.knobs().export.redirects {
        let place = stored_at(&base_of(&app, &headers), id, &name);
        let place = [(header::LOCATION, place.to_string())];
        return Ok((StatusCode::TEMPORARY_REDIRECT, place).into_response());
    }
    file_of(&app, id, &name)
}

/// A file in the storage.
pub(crate) async fn stored(
    State(app): State<App>,
    Path((id, name)): Path<(u64, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(outcome(400, "Only one way to be let through is allowed."));
    }
    file_of(&app, id, &name)
}

/// Where a file lies in the storage: at this port of the host's other name.
fn stored_at(base: &Url, id: u64, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{STORAGE}{id}/{name}"));
    // It is a name, so this cannot fail.
    let _ = url.set_host(Some("localhost"));
    url
}

//! The portal's HTTP: FHIR under `/fhir`, and the sandbox's own doors, which
//! need no token and appear in no log: `/_knobs`, `/_log`, `/_resources`.

use crate::bundle::Page;
use crate::cursor::Cursor;
use crate::data::Row;
use crate::errors::{fhir, outcome};
use crate::knobs::Knobs;
use crate::log::{LogEntry, Served};
use crate::portal::Portal;
use crate::server::{SandboxOptions, closing};
use crate::smart::{self, Smart};
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use url::Url;

#[derive(Clone)]
struct App {
    portal: Portal,
    smart: Smart,
    options: Arc<SandboxOptions>,
    closed: watch::Receiver<()>,
}

/// What an answer holds, handed from a route to the log.
#[derive(Clone)]
struct Contents(Vec<Served>);

pub(crate) fn router(
    portal: Portal,
    smart: Smart,
    options: SandboxOptions,
    closed: watch::Receiver<()>,
) -> Router {
    let app = App {
        portal,
        smart,
        options: Arc::new(options),
        closed,
    };
    Router::new()
        .route("/fhir", get(next_page))
        .route("/fhir/", get(next_page))
        .route("/fhir/metadata", get(metadata))
        .route("/fhir/{ty}", get(search))
        .route("/fhir/{ty}/{id}", get(read))
        .fallback(|| async { outcome(404, "There is nothing here.") })
        .layer(from_fn_with_state(app.clone(), gate))
        .route("/_knobs", get(knobs).put(set_knobs))
        .route("/_log", get(log))
        .route("/_resources", post(put_resource))
        .route("/_resources/{ty}/{id}", delete(remove_resource))
        .with_state(app)
}

/// Stands before every request but those to the own doors: latency, refusals, the token, and the log after it.
async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let mut response = tokio::select! {
        response = admit(&app, request, next) => response,
        () = closing(app.closed.clone()) => {
            let mut response = outcome(503, "The sandbox is closing.");
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            response
        }
    };
    let resources = response
        .extensions_mut()
        .remove()
        .map_or_else(Vec::new, |Contents(served)| served);
    let status = response.status().as_u16();
    tracing::debug!(method, status, resources = resources.len(), "answered");
    app.portal.log_mut().append(method, path, status, resources);
    response
}

async fn admit(app: &App, request: Request, next: Next) -> Response {
    let latency = app.options.latency + Duration::from_millis(app.portal.knobs().latency_ms);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let refusal = app.portal.knob_state().refusal(Instant::now());
    if let Some(status) = refusal {
        return outcome(status, "Come back later.");
    }
    if !smart::public(request.uri().path()) {
        let given = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|given| given.strip_prefix("Bearer "));
        let is_wrong = |token: &String| given != Some(token);
        if app.options.bearer_token.as_ref().is_some_and(is_wrong)
            || (app.options.smart.is_some() && !app.smart.admits(given))
        {
            return outcome(401, "A bearer token is needed.");
        }
    }
    next.run(request).await
}

/// The faults of one type: an answer to give instead, or none ever.
async fn fault_of(app: &App, ty: &str) -> Result<(), Response> {
    let knobs = app.portal.knobs();
    if knobs.hang.contains(ty) {
        std::future::pending::<()>().await;
    }
    let status = knobs.status_for_type.get(ty);
    match status {
        Some(status) => Err(outcome(*status, "This type is refused.")),
        None => Ok(()),
    }
}

async fn metadata(State(app): State<App>, headers: HeaderMap) -> Response {
    let types = app.portal.data().types().clone();
    let resources: Vec<_> = types
        .iter()
        .map(|(ty, searched)| resource_capability(ty, *searched))
        .collect();
    let body = json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2024-01-01",
        "kind": "instance",
        "software": { "name": "Chartlift sandbox", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "A fake portal", "url": base_of(&app, &headers) },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{ "mode": "server", "resource": resources }],
    });
    fhir(StatusCode::OK, body.to_string())
}

fn resource_capability(ty: &str, searched: bool) -> serde_json::Value {
    let mut resource = json!({ "type": ty, "interaction": [{ "code": "read" }] });
    if searched {
        resource["interaction"] = json!([{ "code": "read" }, { "code": "search-type" }]);
        resource["searchParam"] = json!([
            { "name": "patient", "type": "reference" },
            { "name": "_count", "type": "number" },
        ]);
    }
    resource
}

async fn read(
    State(app): State<App>,
    Path(key): Path<(String, String)>,
) -> Result<Response, Response> {
    fault_of(&app, &key.0).await?;
    let name = format!("{}/{}", key.0, key.1);
    let status = app.portal.knobs().status_for_read.get(&name).copied();
    if let Some(status) = status {
        return Err(outcome(status, "This resource is refused."));
    }
    let data = app.portal.data();
    let Some(row) = data.newest(&key) else {
        return Err(match data.is_removed(&key) {
            true => outcome(410, "The resource was deleted."),
            false => outcome(404, "The resource is not known."),
        });
    };
    let mut response = fhir(StatusCode::OK, row.raw.clone());
    response
        .extensions_mut()
        .insert(Contents(vec![Served::of(&row)]));
    Ok(response)
}

async fn search(
    State(app): State<App>,
    Path(ty): Path<String>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    fault_of(&app, &ty).await?;
    match app.portal.data().types().get(&ty) {
        None => return Err(outcome(404, "The type is not supported.")),
        Some(false) => return Err(outcome(400, "The type has no search by patient.")),
        Some(true) => {}
    }
    let patient = params
        .get("patient")
        .ok_or_else(|| outcome(400, "The parameter patient is required."))?;
    let patient = patient
        .strip_prefix("Patient/")
        .unwrap_or(patient)
        .to_owned();
    let page_size = app.options.page_size.max(1);
    let count = match params.get("_count").map(|count| count.parse::<usize>()) {
        None => page_size,
        Some(Ok(count)) => count.clamp(1, page_size),
        Some(Err(_)) => return Err(outcome(400, "The parameter _count is no number.")),
    };
    let base = base_of(&app, &headers);
    let mut self_url = base.clone();
    if let Ok(mut segments) = self_url.path_segments_mut() {
        segments.push(&ty);
    }
    self_url
        .query_pairs_mut()
        .append_pair("patient", &patient)
        .append_pair("_count", &count.to_string());
    let search = app.portal.next_search();
    let cursor = Cursor {
        search,
        ty,
        patient,
        count,
        page: 1,
        from: 0,
        previous: 0,
    };
    Ok(serve_page(&app, &base, self_url, &cursor))
}

/// The page behind a next link: `/fhir?_getpages=…`, as at HAPI.
async fn next_page(
    State(app): State<App>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let token = params
        .get("_getpages")
        .ok_or_else(|| outcome(400, "The server's root has no search."))?;
    let expired = || {
        outcome(
            410,
            "HAPI-0417: The search ID does not exist and may have expired.",
        )
    };
    let cursor = Cursor::parse(token).ok_or_else(expired)?;
    fault_of(&app, &cursor.ty).await?;
    if app.portal.knob_state().cursor_expired(cursor.search) {
        return Err(expired());
    }
    let base = base_of(&app, &headers);
    let self_url = page_url(&base, &cursor);
    Ok(serve_page(&app, &base, self_url, &cursor))
}

fn serve_page(app: &App, base: &Url, self_url: Url, cursor: &Cursor) -> Response {
    let knobs = app.portal.knobs();
    let repeat = knobs.repeat_pages && cursor.page > 1;
    let data = app.portal.data();
    let is_shown = |(_, row): &(usize, &Arc<Row>)| {
        let name = row.key.as_ref().map(|(ty, id)| format!("{ty}/{id}"));
        name.is_none_or(|name| !knobs.hidden_from_search.contains(&name))
    };
    let mut found = data
        .search(&cursor.patient, &cursor.ty, cursor.from)
        .filter(is_shown);
    let mut rows: Vec<_> = found
        .by_ref()
        .take(cursor.count)
        .map(|(_, row)| Arc::clone(row))
        .collect();
    let next = found.next().map(|(slot, _)| Cursor {
        page: cursor.page + 1,
        from: slot,
        previous: cursor.from,
        ..cursor.clone()
    });
    if repeat
        && let Some((_, first)) = data
            .search(&cursor.patient, &cursor.ty, cursor.previous)
            .next()
    {
        rows.insert(0, Arc::clone(first));
    }
    let page = Page {
        base,
        ty: &cursor.ty,
        number: cursor.page,
        self_url: self_url.into(),
        next_url: next.map(|next| page_url(base, &next).into()),
        rows: &rows,
    };
    let mut response = fhir(StatusCode::OK, page.to_json());
    response
        .extensions_mut()
        .insert(Contents(rows.iter().map(|row| Served::of(row)).collect()));
    response
}

fn page_url(base: &Url, cursor: &Cursor) -> Url {
    let mut url = base.clone();
    url.query_pairs_mut()
        .append_pair("_getpages", &cursor.token())
        .append_pair("_bundletype", "searchset");
    url
}

/// Links name the host that the client asked, so that the portal works behind another name.
fn base_of(app: &App, headers: &HeaderMap) -> Url {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let url = host.and_then(|host| Url::parse(&format!("http://{host}/fhir")).ok());
    url.unwrap_or_else(|| app.portal.base().clone())
}

async fn knobs(State(app): State<App>) -> Json<Knobs> {
    Json(app.portal.knobs())
}

async fn set_knobs(State(app): State<App>, Json(knobs): Json<Knobs>) -> StatusCode {
    app.portal.set_knobs(knobs);
    StatusCode::NO_CONTENT
}

async fn log(State(app): State<App>) -> Json<Vec<LogEntry>> {
    Json(app.portal.log())
}

async fn put_resource(State(app): State<App>, raw: Bytes) -> Response {
    match app.portal.try_put(&raw) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => outcome(400, &error.to_string()),
    }
}

async fn remove_resource(
    State(app): State<App>,
    Path((ty, id)): Path<(String, String)>,
) -> StatusCode {
    if app.portal.remove(&ty, &id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

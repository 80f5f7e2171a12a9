//! The portal's HTTP: FHIR under `/fhir`, and the sandbox's own doors, which
//! need no token and appear in no log: `/_knobs`, `/_log`, `/_resources`.

use crate::attachments;
use crate::errors::{fhir, outcome};
use crate::export;
use crate::knobs::Knobs;
use crate::log::{LogEntry, Served};
use crate::portal::Portal;
use crate::search::{everything, search};
use crate::search_page::next_page;
use crate::server::{SandboxOptions, closing};
use crate::smart::{self, Smart};
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use url::Url;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) portal: Portal,
    smart: Smart,
    pub(crate) options: Arc<SandboxOptions>,
    closed: watch::Receiver<()>,
}

/// What an answer holds, handed from a route to the log.
#[derive(Clone)]
pub(crate) struct Contents(pub(crate) Vec<Served>);

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
        .route("/FHIR", get(next_page))
        .route("/fhir/metadata", get(metadata))
        .route("/fhir/{ty}", get(search))
        .route("/fhir/{ty}/{id}", get(read).post(export::begin))
        .route("/fhir/{ty}/{id}/{operation}", get(everything))
        .route(
            "/fhir/$export-status/{job}",
            get(export::status).delete(export::end),
        )
        .route("/fhir/$export-file/{job}/{file}", get(export::file))
        .route("/storage/{job}/{file}", get(export::stored))
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
    let bytes = response.extensions_mut().remove();
    if let Some(date) = date(&app) {
        response.headers_mut().insert(header::DATE, date);
    }
    let status = response.status().as_u16();
    tracing::debug!(method, status, resources = resources.len(), "answered");
    app.portal
        .log_mut()
        .append(method, path, status, resources, bytes);
    response
}

/// The `Date` of an answer, where the portal's clock is wrong.
fn date(app: &App) -> Option<header::HeaderValue> {
    if app.portal.knob_state().knobs.clock_ahead_s == 0 {
        return None;
    }
    let now: jiff::Timestamp = app.portal.now().parse().ok()?;
    let text = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    header::HeaderValue::try_from(text).ok()
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
    let path = request.uri().path();
    if !smart::public(path) && !path.starts_with(export::STORAGE) {
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
pub(crate) async fn fault_of(app: &App, ty: &str, is_next: bool) -> Result<(), Response> {
    let answer = app.portal.knob_state().answer(ty, is_next);
    if let Some(answer) = answer {
        return Err(answer.response());
    }
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
    headers: HeaderMap,
) -> Result<Response, Response> {
    if key.0 == "Binary" {
        return attachments::read(&app, &key.1, &headers).await;
    }
    fault_of(&app, &key.0, false).await?;
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
    let body = match app.portal.knobs().broken(&row) {
        Some(way) => way.apply(&row.raw).into(),
        None => row.raw.clone(),
    };
    let mut response = fhir(StatusCode::OK, body);
    response
        .extensions_mut()
        .insert(Contents(vec![Served::under(&app.portal.knobs(), &row)]));
    Ok(response)
}

/// Links name the host that the client asked, so that the portal works behind another name.
pub(crate) fn base_of(app: &App, headers: &HeaderMap) -> Url {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let url = host.and_then(|host| Url::parse(&format!("http://{host}/fhir")).ok());
    url.unwrap_or_else(|| app.portal.base().clone())
}

async fn knobs(State(app): State<App>) -> Json<Knobs> {
    Json(app.portal.knobs())
}

/// Replaces the knobs by the given ones; those that are not given are off or, beside
/// `profile`, as the profile has them.
async fn set_knobs(State(app): State<App>, Json(given): Json<Value>) -> Response {
    match read_knobs(&app.portal, given) {
        Ok(knobs) => {
            app.portal.set_knobs(knobs);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

fn read_knobs(portal: &Portal, mut given: Value) -> serde_json::Result<Knobs> {
    let Some(profile) = given.as_object_mut().and_then(|of| of.remove("profile")) else {
        return serde_json::from_value(given);
    };
    let base = portal.knobs_of(serde_json::from_value(profile)?);
    let mut knobs = serde_json::to_value(base)?;
    if let (Some(knobs), Value::Object(given)) = (knobs.as_object_mut(), given) {
        knobs.extend(given);
    }
    serde_json::from_value(knobs)
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

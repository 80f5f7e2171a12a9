//! Searches: what they must name, the pages they give, and the links between them.

use crate::bundle::Page;
use crate::cursor::Cursor;
use crate::data::Row;
use crate::errors::{fhir, issue, outcome};
use crate::faults::Links;
use crate::knobs::Knobs;
use crate::log::Served;
use crate::record::EVERYTHING;
use crate::routes::{App, Contents, base_of, fault_of};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// A search by patient: its first page, or the page that a link off its type names.
pub(crate) async fn search(
    State(app): State<App>,
    Path(ty): Path<String>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    if let Some(token) = params.get(SESSION) {
        return further(&app, token, &headers).await;
    }
    fault_of(&app, &ty, false).await?;
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
    let knobs = app.portal.knobs();
    let page_size = app
        .options
        .page_size
        .min(knobs.page_size.unwrap_or(usize::MAX));
    let page_size = page_size.max(1);
    let count = match params.get("_count").map(|count| count.parse::<usize>()) {
        None => page_size,
        Some(Ok(count)) => count.clamp(1, page_size),
        Some(Err(_)) => return Err(outcome(400, "The parameter _count is no number.")),
    };
    let asked = params
        .get("_count")
        .map_or(0, |count| count.parse().unwrap_or(0));
    let most = knobs.times_out_above_count.get(&ty);
    if most.is_some_and(|most| asked > *most) {
        return Err(outcome(504, "The page took too long to make."));
    }
    let filter = demanded(&knobs, &ty, &params)?;
    let last_updated = params.get(LAST_UPDATED);
    let since = match last_updated {
        Some(asked) => Some(since(&knobs, &ty, asked)?),
        None => None,
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
    if let Some((parameter, value)) = &filter {
        self_url.query_pairs_mut().append_pair(parameter, value);
    }
    if let Some(asked) = last_updated.filter(|_| !knobs.hides_last_updated.contains(&ty)) {
        self_url.query_pairs_mut().append_pair(LAST_UPDATED, asked);
    }
    let is_ignored = knobs.ignores_last_updated.contains(&ty);
    let search = app.portal.next_search();
    let cursor = Cursor {
        search,
        ty,
        patient,
        filter,
        since_us: since.filter(|_| !is_ignored),
        count,
        page: 1,
        from: 0,
        previous: 0,
    };
    Ok(serve_page(&app, &base, self_url, &cursor))
}

/// `$everything` of a patient: its first page. Further ones are those of a search.
pub(crate) async fn everything(
    State(app): State<App>,
    Path((ty, id, operation)): Path<(String, String, String)>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    if ty != "Patient" || operation != EVERYTHING {
        return Err(outcome(404, "There is no such operation."));
    }
    fault_of(&app, EVERYTHING, false).await?;
    let knobs = app.portal.knobs();
    let key = (ty, id);
    if app.portal.data().newest(&key).is_none() {
        return Err(outcome(404, "The patient is not known."));
    }
    if knobs.refuses_count.contains(EVERYTHING) && params.contains_key("_count") {
        return Err(issue(
            400,
            "processing",
            "The parameter _count is not known.",
        ));
    }
    let most = app
        .options
        .page_size
        .min(knobs.page_size.unwrap_or(usize::MAX));
    let asked = params.get("_count").and_then(|count| count.parse().ok());
    let count = asked.unwrap_or(most).clamp(1, most.max(1));
    let base = base_of(&app, &headers);
    let mut self_url = base.clone();
    if let Ok(mut segments) = self_url.path_segments_mut() {
        segments.push(&key.0).push(&key.1).push(EVERYTHING);
    }
    let cursor = Cursor {
        search: app.portal.next_search(),
        ty: EVERYTHING.to_owned(),
        patient: key.1,
        filter: None,
        since_us: None,
        count,
        page: 1,
        from: 0,
        previous: 0,
    };
    Ok(serve_page(&app, &base, self_url, &cursor))
}

/// The parameters beside the patient by which a search may ask.
const FILTERS: [&str; 4] = ["category", "intent", "status", "lifecycle-status"];

/// The parameter by which a search asks for what was written since.
const LAST_UPDATED: &str = "_lastUpdated";

/// Since when, in microseconds since 1970: `ge` and an instant.
#[expect(
    clippy::result_large_err,
    reason = "an answer, as the handlers give it"
)]
fn since(knobs: &Knobs, ty: &str, asked: &str) -> Result<i64, Response> {
    if knobs.refuses_last_updated.contains(ty) {
        return Err(issue(
            400,
            "not-supported",
            "The search parameter _lastUpdated is not supported.",
        ));
    }
    asked
        .strip_prefix("ge")
        .and_then(|at| at.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_microsecond)
        .ok_or_else(|| {
            outcome(
                400,
                "The parameter _lastUpdated is no `ge` with an instant.",
            )
        })
}

/// What a search names beside the patient, or the refusal of one that does not name
/// what it must.
#[expect(
    clippy::result_large_err,
    reason = "an answer, as the handlers give it"
)]
fn demanded(
    knobs: &Knobs,
    ty: &str,
    params: &BTreeMap<String, String>,
) -> Result<Option<(String, String)>, Response> {
    if knobs.refuses_count.contains(ty) && params.contains_key("_count") {
        let names: Vec<&str> = params.keys().map(String::as_str).collect();
        let text = format!(
            "Does not know how to handle get operation with parameter [{}]",
            names.join(",")
        );
        return Err(issue(400, "processing", &text));
    }
    let named = FILTERS
        .iter()
        .find_map(|name| Some(((*name).to_owned(), params.get(*name)?.clone())));
    let Some(demand) = knobs.demands.get(ty) else {
        return Ok(named);
    };
    match &named {
        Some((parameter, value)) if *parameter == demand.parameter => {
            let code = value.rsplit('|').next().unwrap_or(value);
            if demand.values.is_empty() || demand.values.iter().any(|granted| granted == code) {
                Ok(named)
            } else {
                Err(issue(
                    400,
                    "invalid",
                    "59022: The combination of parameters is not valid for any authorized sub-resource.",
                ))
            }
        }
        _ => Err(issue(demand.status, &demand.code, &demand.text)),
    }
}

/// The page behind a next link: `/fhir?_getpages=…`, as at HAPI.
pub(crate) async fn next_page(
    State(app): State<App>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let token = params
        .get("_getpages")
        .ok_or_else(|| outcome(400, "The server's root has no search."))?;
    further(&app, token, &headers).await
}

/// The page that a token in a link names.
async fn further(app: &App, token: &str, headers: &HeaderMap) -> Result<Response, Response> {
    let expired = || {
        outcome(
            410,
            "HAPI-0417: The search ID does not exist and may have expired.",
        )
    };
    let cursor = Cursor::parse(token).ok_or_else(expired)?;
    fault_of(app, &cursor.ty, true).await?;
    if app.portal.knob_state().cursor_expired(cursor.search) {
        return Err(expired());
    }
    let base = base_of(app, headers);
    let self_url = page_url(&base, &cursor);
    Ok(serve_page(app, &base, self_url, &cursor))
}

fn serve_page(app: &App, base: &Url, self_url: Url, cursor: &Cursor) -> Response {
    let knobs = app.portal.knobs();
    let repeat = knobs.repeat_pages && cursor.page > 1;
    let data = app.portal.data();
    let is_shown = |(_, row): &(usize, Arc<Row>)| {
        if let Some((parameter, value)) = &cursor.filter
            && !row.matches(parameter, value)
        {
            return false;
        }
        if cursor
            .since_us
            .is_some_and(|since| !row.is_written_since(since))
        {
            return false;
        }
        let name = row.key.as_ref().map(|(ty, id)| format!("{ty}/{id}"));
        name.is_none_or(|name| !knobs.hidden_from_search.contains(&name))
    };
    let all: Box<dyn Iterator<Item = (usize, Arc<Row>)>> = if cursor.ty == EVERYTHING {
        let record = app.portal.record(&data, &knobs, &cursor.patient);
        Box::new(record.into_iter().enumerate().skip(cursor.from))
    } else {
        let found = data.search(&cursor.patient, &cursor.ty, cursor.from);
        Box::new(found.map(|(slot, row)| (slot, Arc::clone(row))))
    };
    let mut found = all.filter(is_shown);
    let links = knobs.next_links.get(&cursor.ty).copied();
    let is_empty = links == Some(Links::EmptyPages) && !cursor.page.is_multiple_of(2);
    let wanted = if is_empty { 0 } else { cursor.count };
    let mut rows: Vec<_> = found.by_ref().take(wanted).map(|(_, row)| row).collect();
    let next_from = match found.next() {
        Some((slot, _)) => Some(slot),
        None if links == Some(Links::Dangling) && !rows.is_empty() => Some(usize::MAX),
        None => None,
    };
    let next = next_from.map(|from| match links {
        Some(Links::Loop) if cursor.page > 1 => cursor.clone(),
        _ => Cursor {
            page: cursor.page + 1,
            from,
            previous: cursor.from,
            ..cursor.clone()
        },
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
        next_url: next.map(|next| link_to(base, &next, links)),
        rows: &rows,
        knobs: &knobs,
    };
    let mut response = fhir(StatusCode::OK, page.to_json());
    response.extensions_mut().insert(Contents(
        rows.iter().map(|row| Served::under(&knobs, row)).collect(),
    ));
    response
}

/// The parameter of a link off the searched type.
const SESSION: &str = "sessionID";

/// A next link, written as the knob says.
fn link_to(base: &Url, cursor: &Cursor, links: Option<Links>) -> String {
    let mut url = page_url(base, cursor);
    match links {
        Some(Links::Session) => {
            url = base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.push(&cursor.ty);
            }
            url.query_pairs_mut().append_pair(SESSION, &cursor.token());
        }
        Some(Links::PathCase) => url.set_path("/FHIR"),
        Some(Links::Relative) => {
            return format!("/fhir?{}", url.query().unwrap_or_default());
        }
        // A name that leads nowhere: RFC 2606.
        Some(Links::Foreign) => drop(url.set_host(Some("portal.invalid"))),
        Some(Links::Loop | Links::Dangling | Links::EmptyPages) | None => {}
    }
    url.into()
}

fn page_url(base: &Url, cursor: &Cursor) -> Url {
    let mut url = base.clone();
    url.query_pairs_mut()
        .append_pair("_getpages", &cursor.token())
        .append_pair("_bundletype", "searchset");
    url
}

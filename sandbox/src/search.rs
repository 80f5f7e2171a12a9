//! Searches: what they must name, and which are refused. Their pages: `search_page.rs`.

use crate::cursor::Cursor;
use crate::errors::{issue, outcome};
use crate::knobs::Knobs;
use crate::record::EVERYTHING;
use crate::routes::{App, base_of, fault_of};
use crate::search_page::{SESSION, further, serve_page};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use std::collections::BTreeMap;

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

//! The pages of a search, and the links between them.

use crate::bundle::Page;
use crate::cursor::Cursor;
use crate::errors::{fhir, outcome};
use crate::faults::Links;
use crate::log::Served;
use crate::record::EVERYTHING;
use crate::routes::{App, Contents, base_of, fault_of};
use crate::row::Row;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// The parameter of a link off the searched type.
pub(crate) const SESSION: &str = "sessionID";

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
pub(crate) async fn further(
    app: &App,
    token: &str,
    headers: &HeaderMap,
) -> Result<Response, Response> {
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

pub(crate) fn serve_page(app: &App, base: &Url, self_url: Url, cursor: &Cursor) -> Response {
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

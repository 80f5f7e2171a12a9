//! A patient's resources, as FHIR Bundles.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use model::{fhir_instant, is_resource_type};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::auth::{Caller, MayReadRecords};
use crate::extract::{Params, PathText, id};
use crate::problem::{INVALID_PARAMETER, Problem};
use crate::record::{Cursor, Record, Resource, Wanted};
use crate::views::words::ConnectionIdSchema;

const COUNT_MAX: usize = 1000;

/// Which resources of a type.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourcesQuery {
    /// Only resources whose newest version was pulled then or later.
    #[serde(rename = "_since")]
    #[param(rename = "_since", format = DateTime)]
    since: Option<String>,
    /// Only what came by this connection of the patient.
    #[param(value_type = Option<ConnectionIdSchema>, inline)]
    connection_id: Option<String>,
    /// Resources in a page; all in one Bundle where it is left out.
    #[serde(rename = "_count")]
    #[param(rename = "_count", minimum = 1, maximum = 1000)]
    count: Option<usize>,
    /// From the `next` link of the page before.
    #[param(pattern = "^1-[0-9]{1,9}(~con_[0-9a-f]{32}-[0-9]{1,12}-[0-9a-f]{32})*$")]
    cursor: Option<String>,
}

/// Which resources of a record.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EverythingQuery {
    /// Only these types, separated by commas.
    #[serde(rename = "_type")]
    #[param(
        rename = "_type",
        pattern = "^[A-Z][A-Za-z]{0,63}(,[A-Z][A-Za-z]{0,63})*$"
    )]
    types: Option<String>,
    /// Only resources whose newest version was pulled then or later.
    #[serde(rename = "_since")]
    #[param(rename = "_since", format = DateTime)]
    since: Option<String>,
    /// Only what came by this connection of the patient.
    #[param(value_type = Option<ConnectionIdSchema>, inline)]
    connection_id: Option<String>,
    /// Resources in a page; all in one Bundle where it is left out.
    #[serde(rename = "_count")]
    #[param(rename = "_count", minimum = 1, maximum = 1000)]
    count: Option<usize>,
    /// From the `next` link of the page before.
    #[param(pattern = "^1-[0-9]{1,9}(~con_[0-9a-f]{32}-[0-9]{1,12}-[0-9a-f]{32})*$")]
    cursor: Option<String>,
}

/// Read a patient's whole record: the newest live resources, as a FHIR Bundle
#[utoipa::path(get, path = "/v1/patients/{id}/$everything", operation_id = "readRecord", tag = "patients",
    params(("id" = String, Path, description = "The patient's id or external id.", min_length = 1, max_length = 128),
        EverythingQuery),
    security(("key" = ["phi"])),
    responses((status = 200, description = "A Bundle of type `searchset`.", body = Object, content_type = "application/fhir+json")))]
pub(crate) async fn everything(
    MayReadRecords(caller): MayReadRecords,
    State(app): State<App>,
    PathText(id): PathText,
    Params(query): Params<EverythingQuery>,
) -> Result<Response, Problem> {
    let types = query.types.as_deref().map(|types| types.split(','));
    let types: Vec<String> = types.into_iter().flatten().map(str::to_owned).collect();
    let path = format!("/v1/patients/{}/$everything", encoded(&id));
    let page = Page {
        types,
        since: query.since,
        connection_id: query.connection_id,
        count: query.count,
        cursor: query.cursor,
    };
    bundle(&app, &caller, &id, &path, page, true).await
}

/// Read a patient's resources of a type: the newest live ones, as a FHIR Bundle
#[utoipa::path(get, path = "/v1/patients/{id}/resources/{type}", operation_id = "readResources", tag = "patients",
    params(("id" = String, Path, description = "The patient's id or external id.", min_length = 1, max_length = 128),
        ("type" = String, Path, description = "The resource type.", pattern = "^[A-Z][A-Za-z]{0,63}$"),
        ResourcesQuery),
    security(("key" = ["phi"])),
    responses((status = 200, description = "A Bundle of type `searchset`.", body = Object, content_type = "application/fhir+json")))]
pub(crate) async fn of_type(
    MayReadRecords(caller): MayReadRecords,
    State(app): State<App>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    Params(query): Params<ResourcesQuery>,
) -> Result<Response, Problem> {
    let Path((id, ty)) = path.map_err(|_| Problem::parameter("The path is not UTF-8 text."))?;
    let path = format!("/v1/patients/{}/resources/{}", encoded(&id), encoded(&ty));
    let page = Page {
        types: vec![ty],
        since: query.since,
        connection_id: query.connection_id,
        count: query.count,
        cursor: query.cursor,
    };
    bundle(&app, &caller, &id, &path, page, false).await
}

/// What was asked for.
struct Page {
    types: Vec<String>,
    since: Option<String>,
    connection_id: Option<String>,
    count: Option<usize>,
    cursor: Option<String>,
}

impl Page {
    fn wanted(&self) -> Result<Wanted, Problem> {
        if let Some(wrong) = self.types.iter().find(|ty| !is_resource_type(ty)) {
            let wrong: String = wrong.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Problem::parameter(format!(
                "`{wrong}` is not a resource type."
            )));
        }
        let since = self.since.as_deref().map(|since| {
            fhir_instant(since).ok_or_else(|| {
                Problem::new(
                    INVALID_PARAMETER,
                    "`_since` is a time such as 2026-01-31T12:00:00Z.",
                )
            })
        });
        let connection = self.connection_id.as_deref();
        Ok(Wanted {
            types: self.types.clone(),
            since: since.transpose()?,
            connection: connection
                .map(|given| id("connection_id", given))
                .transpose()?,
        })
    }

    /// The query of a page, without its cursor.
    fn query(&self, has_types: bool) -> Vec<String> {
        let types = has_types
            .then(|| self.types.join(","))
            .filter(|types| !types.is_empty());
        [
            types.map(|types| format!("_type={types}")),
            self.since
                .as_ref()
                .map(|since| format!("_since={}", encoded(since))),
            self.connection_id
                .as_ref()
                .map(|id| format!("connection_id={id}")),
            self.count.map(|count| format!("_count={count}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

async fn bundle(
    app: &App,
    caller: &Caller,
    patient: &str,
    path: &str,
    page: Page,
    has_types: bool,
) -> Result<Response, Problem> {
    if page
        .count
        .is_some_and(|count| !(1..=COUNT_MAX).contains(&count))
    {
        let detail = format!("`_count` is a whole number from 1 to {COUNT_MAX}.");
        return Err(Problem::parameter(detail));
    }
    let wanted = page.wanted()?;
    let patient = app.db.patient(patient).await?;
    let cursor = page.cursor.as_deref().map(Cursor::decode).transpose()?;
    let record = Record::open(&app.db, &app.store, patient.id, &wanted, cursor.as_ref()).await?;
    let from = cursor.map_or(0, |cursor| cursor.at);
    let to = page
        .count
        .map_or(record.len(), |count| from.saturating_add(count));
    let to = to.min(record.len());
    caller
        .note_reading(patient.id, to.saturating_sub(from))
        .await?;

    let mut link = page.query(has_types);
    let mut links = vec![("self", target(path, &link))];
    if to < record.len() {
        link.push(format!("cursor={}", record.cursor(to).encode()));
        links.push(("next", target(path, &link)));
    }
    let is_empty = from >= to;
    let head = head(record.len(), &links, is_empty);
    let body = Body::from_stream(text(head, record.read(from, to), is_empty));
    let kind = HeaderValue::from_static("application/fhir+json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn target(path: &str, query: &[String]) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

/// A Bundle up to its first entry.
fn head(total: usize, links: &[(&str, String)], is_empty: bool) -> String {
    let links: Vec<serde_json::Value> = links
        .iter()
        .map(|(relation, url)| serde_json::json!({ "relation": relation, "url": url }))
        .collect();
    let links = serde_json::Value::Array(links);
    // An array in FHIR is never empty.
    let entries = if is_empty { "" } else { r#","entry":["# };
    format!(
        r#"{{"resourceType":"Bundle","type":"searchset","total":{total},"link":{links}{entries}"#
    )
}

/// A Bundle, entry by entry. An error on the way breaks the answer off, so that
/// nobody takes half of it for the whole.
fn text(
    head: String,
    resources: impl Stream<Item = Result<Resource, records::Error>> + Send + 'static,
    is_empty: bool,
) -> impl Stream<Item = Result<Bytes, records::Error>> + Send {
    let entries = resources.enumerate().map(|(number, resource)| {
        let resource =
            resource.inspect_err(|error| tracing::error!(%error, "a record broke off"))?;
        let before = if number == 0 { "" } else { "," };
        let url = serde_json::Value::String(resource.full_url);
        let mut entry = format!(r#"{before}{{"fullUrl":{url},"resource":"#).into_bytes();
        entry.extend_from_slice(&resource.text);
        entry.push(b'}');
        Ok(Bytes::from(entry))
    });
    let end: &[u8] = if is_empty { b"}" } else { b"]}" };
    let once = |bytes: Bytes| futures::stream::once(std::future::ready(Ok(bytes)));
    once(head.into())
        .chain(entries)
        .chain(once(Bytes::from_static(end)))
}

/// A segment of a path or a value of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

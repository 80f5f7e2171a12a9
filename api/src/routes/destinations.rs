//! `/v1/destinations`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use db::{Destination, DestinationChange, NewDestination};
use model::{DestinationId, FileFormat, RunState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PageQuery;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::{Entity, sets_condition};
use crate::extract::{Body, Id, Params, text};
use crate::list::{Asked, Page};
use crate::problem::Problem;
use crate::views::DestinationView;
use crate::views::words::{DestinationIdSchema, FileFormatSchema};
use crate::wait::Wait;

/// A destination to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDestinationBody {
    /// A name for people, unique.
    #[schema(min_length = 1, max_length = 100, example = "lake")]
    name: String,
    /// Where: an absolute folder of the server's, or `s3://bucket/prefix`. Fixed.
    #[schema(min_length = 1, max_length = 1000, example = "s3://lake/records")]
    location: String,
    /// How files are written. Fixed.
    #[schema(value_type = FileFormatSchema)]
    format: FileFormat,
    /// The key to an object store. Stored sealed; no answer shows it.
    #[schema(write_only)]
    credentials: Option<S3Credentials>,
}

/// A key to S3, or to a store that speaks it.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3Credentials {
    #[schema(min_length = 1, max_length = 200)]
    access_key_id: String,
    #[schema(min_length = 1, max_length = 200)]
    secret_access_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4000)]
    session_token: Option<String>,
    /// Where the store is; that of AWS where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, example = "https://s3.example")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100, example = "eu-central-1")]
    region: Option<String>,
    /// Whether the store may be spoken to without TLS.
    #[serde(default)]
    allow_http: bool,
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("S3Credentials(…)")
    }
}

/// What may change of a destination; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DestinationChange)]
pub(crate) struct ChangeBody {
    /// A name for people, unique.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether it is exported to; enabled again, it catches up. One that awaits its
    /// test is enabled by passing it.
    enabled: Option<bool>,
    /// Another key to the object store; it is tried out, and `test` tells.
    #[schema(write_only)]
    credentials: Option<S3Credentials>,
}

/// List destinations, newest first
#[utoipa::path(get, path = "/v1/destinations", operation_id = "listDestinations", tag = "destinations",
    params(PageQuery), security(("key" = ["read"])),
    responses((status = 200, description = "A page.", body = Page<DestinationView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<PageQuery>,
) -> Result<Page<DestinationView>, Problem> {
    let asked: Asked<DestinationId> =
        Asked::new(query.limit, query.cursor.as_deref(), DestinationId::PREFIX)?;
    // Destinations are few: all are read for each page.
    let mut rows = app.db.destinations().await?;
    rows.retain(|row| asked.before.is_none_or(|before| row.id < before));
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    rows.truncate(asked.rows() as usize);
    Ok(asked.page(rows, |row| row.id.to_string()))
}

/// Add a destination; it is tested, and once it passes, exported to
#[utoipa::path(post, path = "/v1/destinations", operation_id = "addDestination", tag = "destinations", params(Wait),
    request_body = NewDestinationBody, security(("key" = ["write"])),
    responses((status = 201, description = "Added. It stays disabled where its test fails: `test` tells why.",
        body = DestinationView)))]
pub(crate) async fn add(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Params(wait): Params<Wait>,
    Body(body): Body<NewDestinationBody>,
) -> Result<Response, Problem> {
    let location = text("location", &body.location, 1000)?;
    let credentials = sealed_form(body.credentials.as_ref())?;
    let checked = app.checks.destination(location, credentials.as_deref());
    let new = NewDestination {
        id: DestinationId::new(),
        name: text("name", &body.name, 100)?.to_owned(),
        location: checked.await?,
        format: body.format,
        credentials,
        awaits_test: true,
    };
    let id: DestinationId = caller
        .once("destination.add", |db| async move {
            db.add_destination(&new).await.map(|()| new.id)
        })
        .await?;
    let view = wait.until_ended(|| tested(&app, id)).await?;
    Ok(Entity::new(&view).created(&format!("/v1/destinations/{id}")))
}

/// Read a destination
#[utoipa::path(get, path = "/v1/destinations/{id}", operation_id = "readDestination", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination.")),
    security(("key" = ["read"])),
    responses((status = 200, description = "The destination.", body = DestinationView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, view) = tested(&app, id).await?;
    Ok(Entity::new(&view).read(&headers))
}

/// Change a destination
#[utoipa::path(patch, path = "/v1/destinations/{id}", operation_id = "changeDestination", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination.")),
    request_body = ChangeBody, security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = DestinationView)))]
pub(crate) async fn change(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    headers: HeaderMap,
    Body(body): Body<ChangeBody>,
) -> Result<Response, Problem> {
    let seen = seen(&app, id, &headers).await?;
    let credentials = sealed_form(body.credentials.as_ref())?;
    if let Some(text) = &credentials {
        let checked = app.checks.destination(&seen.location, Some(text));
        checked.await?;
    }
    let name = body.name.as_deref();
    let change = DestinationChange {
        name: name.map(|name| text("name", name, 100)).transpose()?,
        enabled: body.enabled,
        credentials: credentials.as_deref(),
        seen: sets_condition(&headers).then_some(&seen),
    };
    caller
        .db("destination.change")
        .change_destination(id, change)
        .await?;
    let (_, view) = tested(&app, id).await?;
    Ok(Entity::new(&view).with(StatusCode::OK))
}

/// Delete a destination and its exports; what lies at its location stays there
#[utoipa::path(delete, path = "/v1/destinations/{id}", operation_id = "deleteDestination", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination.")),
    security(("key" = ["write"])), responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let seen = seen(&app, id, &headers).await?;
    caller
        .db("destination.delete")
        .delete_destination(id, sets_condition(&headers).then_some(&seen))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The destination as it is, and as the caller knows it if they say how.
async fn seen(app: &App, id: DestinationId, headers: &HeaderMap) -> Result<Destination, Problem> {
    let destination = app.db.destination(&id.to_string()).await?;
    let test = app.db.latest_test(id).await?;
    Entity::new(&DestinationView::whole(destination.clone(), test)).may_change(headers)?;
    Ok(destination)
}

/// A destination with its latest test, and how far that is; one that was never
/// tested has nothing to wait for.
async fn tested(app: &App, id: DestinationId) -> Result<(RunState, DestinationView), Problem> {
    let destination = app.db.destination(&id.to_string()).await?;
    let test = app.db.latest_test(id).await?;
    let state = test.as_ref().map_or(RunState::Completed, |test| test.state);
    Ok((state, DestinationView::whole(destination, test)))
}

/// A key as it is stored, before it is sealed.
fn sealed_form(credentials: Option<&S3Credentials>) -> Result<Option<String>, Problem> {
    let text = credentials.map(serde_json::to_string).transpose();
    text.map_err(|_| Problem::internal())
}

//! `/v1/destinations`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use db::NewDestination;
use model::{DestinationId, FileFormat};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PageQuery;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::Entity;
use crate::extract::{Body, Id, Params, text};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::DestinationView;
use crate::views::words::{DestinationIdSchema, FileFormatSchema};

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
pub(crate) struct DestinationChange {
    /// Whether it is exported to; enabled again, it catches up.
    enabled: Option<bool>,
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

/// Add a destination; it lacks everything there is, and is exported to at once
#[utoipa::path(post, path = "/v1/destinations", operation_id = "addDestination", tag = "destinations",
    request_body = NewDestinationBody, security(("key" = ["write"])),
    responses((status = 201, description = "Added.", body = DestinationView)))]
pub(crate) async fn add(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Body(body): Body<NewDestinationBody>,
) -> Result<Response, Problem> {
    let refused = |why| Problem::new(INVALID_VALUE, why);
    let credentials = body.credentials.as_ref();
    let credentials = credentials.map(serde_json::to_string).transpose();
    let location = text("location", &body.location, 1000)?;
    let new = NewDestination {
        id: DestinationId::new(),
        name: text("name", &body.name, 100)?.to_owned(),
        location: app.checks.location(location).map_err(refused)?,
        format: body.format,
        credentials: credentials.map_err(|_| Problem::internal())?,
    };
    if !caller.is_done() {
        app.db.destination_is_free(&new.name, &new.location).await?;
        app.checks
            .destination(new.id, &new.location, new.credentials.as_deref())
            .await
            .map_err(refused)?;
    }
    let id: DestinationId = caller
        .once("destination.add", |db| async move {
            db.add_destination(&new).await.map(|()| new.id)
        })
        .await?;
    Ok(entity(&app, id)
        .await?
        .created(&format!("/v1/destinations/{id}")))
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
    Ok(entity(&app, id).await?.read(&headers))
}

/// Change a destination
#[utoipa::path(patch, path = "/v1/destinations/{id}", operation_id = "changeDestination", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination.")),
    request_body = DestinationChange, security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = DestinationView)))]
pub(crate) async fn change(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    headers: HeaderMap,
    Body(change): Body<DestinationChange>,
) -> Result<Response, Problem> {
    entity(&app, id).await?.may_change(&headers)?;
    if let Some(enabled) = change.enabled {
        caller
            .db("destination.change")
            .set_destination_enabled(id, enabled)
            .await?;
    }
    Ok(entity(&app, id).await?.with(StatusCode::OK))
}

async fn entity(app: &App, id: DestinationId) -> Result<Entity, Problem> {
    let destination = app.db.destination(&id.to_string()).await?;
    Ok(Entity::new(&DestinationView::from(destination)))
}

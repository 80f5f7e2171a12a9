//! `/v1/connections`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use db::{NewConnection, PULL_INTERVAL_MAX_S, PULL_INTERVAL_MIN_S, SourceAuth};
use model::{ConnectionId, PatientId, SourceId};
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

use super::logins::{GrantBody, credentials};
use super::sources::{check_interval, given};
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::{Entity, sets_condition};
use crate::extract::{Body, Id, Params, id, text};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::ConnectionView;
use crate::views::words::{ConnectionIdSchema, PatientIdSchema, SourceIdSchema};

/// Which connections.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionsQuery {
    /// Entries in a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^1-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only those of this patient.
    #[param(value_type = Option<PatientIdSchema>, inline)]
    patient_id: Option<String>,
    /// Only those at this source.
    #[param(value_type = Option<SourceIdSchema>, inline)]
    source_id: Option<String>,
}

/// A connection to add, with credentials that you have already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConnectionBody {
    /// Whose record.
    #[schema(value_type = PatientIdSchema)]
    patient_id: PatientId,
    /// At which source.
    #[schema(value_type = SourceIdSchema)]
    source_id: SourceId,
    /// The patient's id at the source. Stored sealed; no answer shows it.
    #[schema(
        min_length = 1,
        max_length = 1000,
        write_only,
        example = "eXbMln3hu0PfFrpv2HgVHyg3"
    )]
    source_patient_id: String,
    /// A bearer token for the source. Stored sealed; no answer shows it.
    #[schema(min_length = 1, max_length = 8000, write_only)]
    token: Option<String>,
    /// The patient's grant, at a source with the auth `smart`.
    grant: Option<GrantBody>,
}

/// What a connection is made with anew; the patient is the same.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReconnectBody {
    /// A bearer token for the source. Stored sealed; no answer shows it.
    #[schema(min_length = 1, max_length = 8000, write_only)]
    token: Option<String>,
    /// The patient's grant, at a source with the auth `smart`.
    grant: Option<GrantBody>,
}

/// What may change of a connection; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionChange {
    /// How often it is pulled by itself, in seconds; 0: not by itself; `null`: as its
    /// source has it.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = interval)]
    pull_interval_s: Option<Option<u32>>,
}

/// 0, or an interval that may be one, or null.
fn interval() -> RefOr<Schema> {
    let whole = || ObjectBuilder::new().schema_type(Type::Integer);
    OneOfBuilder::new()
        .item(whole().enum_values(Some([0])))
        .item(
            whole()
                .minimum(Some(PULL_INTERVAL_MIN_S))
                .maximum(Some(PULL_INTERVAL_MAX_S)),
        )
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some(
            "How often it is pulled by itself, in seconds; 0: not by itself; `null`: as its source has it.",
        ))
        .into()
}

/// List connections, newest first
#[utoipa::path(get, path = "/v1/connections", operation_id = "listConnections", tag = "connections",
    params(ConnectionsQuery), security(("key" = ["read"])),
    responses((status = 200, description = "A page.", body = Page<ConnectionView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<ConnectionsQuery>,
) -> Result<Page<ConnectionView>, Problem> {
    let asked: Asked<ConnectionId> =
        Asked::new(query.limit, query.cursor.as_deref(), ConnectionId::PREFIX)?;
    let patient = query.patient_id.as_deref();
    let patient = patient.map(|given| id("patient_id", given)).transpose()?;
    let source = query.source_id.as_deref();
    let source = source.map(|given| id("source_id", given)).transpose()?;
    let rows = app
        .db
        .newest_connections(patient, source, asked.before, asked.rows())
        .await?;
    let page = asked.page(rows, |row| row.id.to_string());
    Ok(page
        .narrowed("patient_id", query.patient_id.as_deref())
        .narrowed("source_id", query.source_id.as_deref()))
}

/// Connect a patient to a source
#[utoipa::path(post, path = "/v1/connections", operation_id = "addConnection", tag = "connections",
    request_body = NewConnectionBody, security(("key" = ["write"])),
    responses((status = 201, description = "Added.", body = ConnectionView)))]
pub(crate) async fn add(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Body(body): Body<NewConnectionBody>,
) -> Result<Response, Problem> {
    text("source_patient_id", &body.source_patient_id, 1000)?;
    app.db.patient(&body.patient_id.to_string()).await?;
    let source = app.db.source(&body.source_id.to_string()).await?;
    let grant = credentials(source.auth, body.token.as_ref(), body.grant)?;
    let new = NewConnection {
        patient_id: body.patient_id,
        source_id: body.source_id,
        source_patient_id: body.source_patient_id,
        token: body.token,
    };
    let id: ConnectionId = caller
        .once("connection.add", |db| async move {
            match &grant {
                Some(grant) => db.add_connection_with_grant(&new, grant).await,
                None => db.add_connection(&new).await,
            }
        })
        .await?;
    Ok(entity(&app, id)
        .await?
        .created(&format!("/v1/connections/{id}")))
}

/// Read a connection
#[utoipa::path(get, path = "/v1/connections/{id}", operation_id = "readConnection", tag = "connections",
    params(("id" = inline(ConnectionIdSchema), Path, description = "The connection.")), security(("key" = ["read"])),
    responses((status = 200, description = "The connection.", body = ConnectionView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(entity(&app, id).await?.read(&headers))
}

/// Change a connection
#[utoipa::path(patch, path = "/v1/connections/{id}", operation_id = "changeConnection", tag = "connections",
    params(("id" = inline(ConnectionIdSchema), Path, description = "The connection.")),
    request_body = ConnectionChange, security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = ConnectionView)))]
pub(crate) async fn change(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
    headers: HeaderMap,
    Body(change): Body<ConnectionChange>,
) -> Result<Response, Problem> {
    let seen = app.db.connection_summary(id).await?;
    Entity::new(&ConnectionView::from(seen.clone())).may_change(&headers)?;
    let check_every = |every: Option<u32>| match every {
        None | Some(0) => Ok(every),
        Some(every) => check_interval(every).map(Some),
    };
    let change = db::ConnectionChange {
        enabled: None,
        pull_interval_s: change.pull_interval_s.map(check_every).transpose()?,
        seen: sets_condition(&headers).then_some(&seen),
    };
    let db = caller.db("connection.change");
    db.change_connection(id, change).await?;
    Ok(entity(&app, id).await?.with(StatusCode::OK))
}

/// Give up a connection: its token is forgotten, what it brought stays
#[utoipa::path(post, path = "/v1/connections/{id}/revoke", operation_id = "revokeConnection", tag = "connections",
    params(("id" = inline(ConnectionIdSchema), Path, description = "The connection.")), security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = ConnectionView)))]
pub(crate) async fn revoke(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
) -> Result<Response, Problem> {
    caller
        .once("connection.revoke", |db| async move {
            db.revoke_connection(id).await.map(|()| id)
        })
        .await?;
    Ok(entity(&app, id).await?.with(StatusCode::OK))
}

/// Connect a connection again, with new credentials; it is active then
#[utoipa::path(post, path = "/v1/connections/{id}/reconnect", operation_id = "reconnectConnection",
    tag = "connections", params(("id" = inline(ConnectionIdSchema), Path, description = "The connection.")),
    request_body = ReconnectBody, security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = ConnectionView)))]
pub(crate) async fn reconnect(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
    Body(body): Body<ReconnectBody>,
) -> Result<Response, Problem> {
    let connection = app.db.connection_summary(id).await?;
    let source = app.db.source(&connection.source_id.to_string()).await?;
    let (token, grant) = (body.token, body.grant);
    let grant = credentials(source.auth, token.as_ref(), grant)?;
    if source.auth == SourceAuth::Bearer && token.is_none() {
        let detail = "A connection to this source is made with a bearer `token`.";
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    caller
        .once("connection.reconnect", |db| async move {
            let done = db.reconnect(id, token.as_deref(), grant.as_ref()).await;
            done.map(|()| id)
        })
        .await?;
    Ok(entity(&app, id).await?.with(StatusCode::OK))
}

async fn entity(app: &App, id: ConnectionId) -> Result<Entity, Problem> {
    let connection = app.db.connection_summary(id).await?;
    Ok(Entity::new(&ConnectionView::from(connection)))
}

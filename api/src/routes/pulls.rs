//! `/v1/pulls`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use db::RunKind;
use model::{ConnectionId, PullId, RunState, Trigger};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::Entity;
use crate::extract::{Body, Id, Params, id};
use crate::list::{Asked, Page};
use crate::problem::Problem;
use crate::views::PullView;
use crate::views::words::{ConnectionIdSchema, PullIdSchema};
use crate::wait::Wait;

/// Which pulls.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PullsQuery {
    /// Entries in a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^1-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only those of this connection.
    #[param(value_type = Option<ConnectionIdSchema>, inline)]
    connection_id: Option<String>,
}

/// A pull to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPull {
    /// The connection to fetch.
    #[schema(value_type = ConnectionIdSchema)]
    connection_id: ConnectionId,
    /// Whether to ask for everything, also of types of which the source could say what
    /// has changed. Such a pull is what finds deletions.
    #[serde(default)]
    full: bool,
}

/// List pulls, newest first
#[utoipa::path(get, path = "/v1/pulls", operation_id = "listPulls", tag = "pulls", params(PullsQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<PullView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<PullsQuery>,
) -> Result<Page<PullView>, Problem> {
    let asked: Asked<PullId> = Asked::new(query.limit, query.cursor.as_deref(), PullId::PREFIX)?;
    let connection = query.connection_id.as_deref();
    let connection = connection
        .map(|given| id("connection_id", given))
        .transpose()?;
    let rows = app.db.pulls(connection, asked.before, asked.rows()).await?;
    let page = asked.page(rows, |row| row.id.to_string());
    Ok(page.narrowed("connection_id", query.connection_id.as_deref()))
}

/// Start a pull, or join the one that is queued
#[utoipa::path(post, path = "/v1/pulls", operation_id = "startPull", tag = "pulls", params(Wait),
    request_body = NewPull, security(("key" = ["write"])),
    responses((status = 202, description = "The pull that does the work.", body = PullView)))]
pub(crate) async fn start(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Params(wait): Params<Wait>,
    Body(body): Body<NewPull>,
) -> Result<Response, Problem> {
    let id = caller
        .once("pull.start", |db| async move {
            match body.full {
                true => {
                    db.request_full_pull(body.connection_id, Trigger::Manual)
                        .await
                }
                false => db.request_pull(body.connection_id, Trigger::Manual).await,
            }
        })
        .await?;
    accepted(&app, id, wait).await
}

/// Read a pull: its state, its coverage by type, what it holds back
#[utoipa::path(get, path = "/v1/pulls/{id}", operation_id = "readPull", tag = "pulls",
    params(("id" = inline(PullIdSchema), Path, description = "The pull."), Wait), security(("key" = ["read"])),
    responses((status = 200, description = "The pull.", body = PullView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<PullId>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = wait.until_ended(|| view(&app, id)).await?;
    Ok(Entity::new(&view).read(&headers))
}

/// Ask a pull to end
#[utoipa::path(post, path = "/v1/pulls/{id}/cancel", operation_id = "cancelPull", tag = "pulls",
    params(("id" = inline(PullIdSchema), Path, description = "The pull."), Wait), security(("key" = ["write"])),
    responses((status = 202, description = "It will end within 30 seconds.", body = PullView)))]
pub(crate) async fn cancel(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<PullId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    caller
        .once("pull.cancel", |db| async move {
            db.request_cancel(RunKind::Pull, &id.to_string())
                .await
                .map(|()| id)
        })
        .await?;
    accepted(&app, id, wait).await
}

/// Start a pull that makes up for one that did not get everything
#[utoipa::path(post, path = "/v1/pulls/{id}/retry", operation_id = "retryPull", tag = "pulls",
    params(("id" = inline(PullIdSchema), Path, description = "The pull."), Wait), security(("key" = ["write"])),
    responses((status = 202, description = "The pull that does the work.", body = PullView)))]
pub(crate) async fn retry(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<PullId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    let retry = caller
        .once("pull.retry", |db| async move { db.retry_pull(id).await })
        .await?;
    accepted(&app, retry, wait).await
}

/// Accept the deletions that a pull held back
#[utoipa::path(post, path = "/v1/pulls/{id}/held/accept", operation_id = "acceptDeletes", tag = "pulls",
    params(("id" = inline(PullIdSchema), Path, description = "The pull that holds them."), Wait),
    security(("key" = ["write"])),
    responses((status = 202, description = "The pull that settles them.", body = PullView)))]
pub(crate) async fn accept(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<PullId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    let accepting = caller
        .once("pull.accept_deletes", |db| async move {
            db.accept_deletes(id).await
        })
        .await?;
    accepted(&app, accepting, wait).await
}

/// Discard the deletions that a pull held back: the next pull looks again
#[utoipa::path(post, path = "/v1/pulls/{id}/held/discard", operation_id = "discardDeletes", tag = "pulls",
    params(("id" = inline(PullIdSchema), Path, description = "The pull that holds them.")),
    security(("key" = ["write"])),
    responses((status = 200, description = "The pull, as it is now.", body = PullView)))]
pub(crate) async fn discard(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<PullId>,
) -> Result<Response, Problem> {
    // Their object is swept away by the upkeep.
    caller
        .once("pull.discard_deletes", |db| async move {
            db.discard_deletes(id).await.map(|_| id)
        })
        .await?;
    Ok(Entity::new(&view(&app, id).await?.1).with(StatusCode::OK))
}

async fn accepted(app: &App, id: PullId, wait: Wait) -> Result<Response, Problem> {
    let view = wait.until_ended(|| view(app, id)).await?;
    Ok(Entity::new(&view).accepted(&format!("/v1/pulls/{id}")))
}

async fn view(app: &App, id: PullId) -> Result<(RunState, PullView), Problem> {
    let pull = app.db.pull(id).await?;
    let (types, held) = (app.db.pull_types(id).await?, app.db.held_deletes(id).await?);
    let progress = match pull.state {
        RunState::Running => Some(app.db.pull_progress(id).await?),
        _ => None,
    };
    let queue = match pull.state {
        RunState::Queued => app.db.pull_queue(id).await?,
        _ => None,
    };
    let state = pull.state;
    let view = PullView::whole(pull, types, held, progress).waiting(queue);
    Ok((state, view))
}

//! `/v1/sources`.

mod body;
mod check;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use db::{NewSource, Source, SourceAuth, SourceLimits};
use model::SourceId;

use self::body::{NewSourceBody, SourceChange};
use self::check::{check_given, check_limit, check_types};
use super::PageQuery;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::checks::CheckedBase;
use crate::entity::{Entity, sets_condition};
use crate::extract::{Body, Id, Params, text};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::SourceView;

pub(super) use self::body::given;
pub(super) use self::check::check_interval;

/// List sources, newest first
#[utoipa::path(get, path = "/v1/sources", operation_id = "listSources", tag = "sources", params(PageQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<SourceView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<PageQuery>,
) -> Result<Page<SourceView>, Problem> {
    let asked: Asked<SourceId> =
        Asked::new(query.limit, query.cursor.as_deref(), SourceId::PREFIX)?;
    // Sources are few: all are read for each page.
    let mut rows = app.db.sources().await?;
    rows.retain(|row| asked.before.is_none_or(|before| row.id < before));
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    rows.truncate(asked.rows() as usize);
    let rates = app.db.source_rates().await?;
    let rows = rows.into_iter().map(|row| {
        let rate = rates.get(&row.id).copied().unwrap_or_default();
        SourceView::whole(row, rate)
    });
    Ok(asked.page(rows.collect(), |row: &SourceView| row.id.to_string()))
}

/// Add a source
#[utoipa::path(post, path = "/v1/sources", operation_id = "addSource", tag = "sources",
    request_body = NewSourceBody, security(("key" = ["write"])),
    responses((status = 201, description = "Added.", body = SourceView)))]
pub(crate) async fn add(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Body(body): Body<NewSourceBody>,
) -> Result<Response, Problem> {
    let name = text("name", &body.name, 100)?;
    let base = base_url_of(&app, &body.base_url).await?;
    let auth = SourceAuth::from(body.auth);
    let login = match body.login {
        Some(login) => Some(login.checked(&app, &base.base_url, auth).await?),
        None if auth.has_login() => {
            let detail =
                "A source with this `auth` has a `login`: the `client_id` by which it knows us.";
            return Err(Problem::new(INVALID_VALUE, detail));
        }
        None => None,
    };
    if let Some(types) = &body.types {
        check_types(types)?;
    }
    let new = NewSource {
        auth,
        limits: SourceLimits {
            requests_per_second: check_limit("requests_per_second", body.requests_per_second)?,
            concurrent_requests: check_limit("concurrent_requests", body.concurrent_requests)?,
            concurrent_pulls: check_limit("concurrent_pulls", body.concurrent_pulls)?,
        },
        strategy: body.strategy,
        types: body.types,
        pull_interval_s: body.pull_interval_s.map(check_interval).transpose()?,
        attachments: body.attachments,
        ..NewSource::new(name, &base.base_url, &base.identity)
    };
    let id: SourceId = caller
        .once("source.add", |db| async move {
            match &login {
                Some(login) => db.add_source_with_login(&new, login).await,
                None => db.add_source(&new).await,
            }
        })
        .await?;
    Ok(entity(&app, id)
        .await?
        .created(&format!("/v1/sources/{id}")))
}

/// Read a source
#[utoipa::path(get, path = "/v1/sources/{id}", operation_id = "readSource", tag = "sources",
    params(("id" = inline(crate::views::words::SourceIdSchema), Path, description = "The source.")),
    security(("key" = ["read"])), responses((status = 200, description = "The source.", body = SourceView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<SourceId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(entity(&app, id).await?.read(&headers))
}

/// Change a source
#[utoipa::path(patch, path = "/v1/sources/{id}", operation_id = "changeSource", tag = "sources",
    params(("id" = inline(crate::views::words::SourceIdSchema), Path, description = "The source.")),
    request_body = SourceChange, security(("key" = ["write"])),
    responses((status = 200, description = "As it is now.", body = SourceView)))]
pub(crate) async fn change(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<SourceId>,
    headers: HeaderMap,
    Body(change): Body<SourceChange>,
) -> Result<Response, Problem> {
    let seen = app.db.source(&id.to_string()).await?;
    view(&app, seen.clone()).await?.may_change(&headers)?;
    let check_every = |every: Option<u32>| every.map(check_interval).transpose();
    let every = change.pull_interval_s.map(check_every).transpose()?;
    if let Some(Some(types)) = &change.types {
        check_types(types)?;
    }
    let base = match &change.base_url {
        Some(base_url) => Some(base_url_of(&app, base_url).await?.base_url),
        None => None,
    };
    let base_url = base.as_deref().unwrap_or(&seen.base_url);
    let login = match change.login {
        Some(login) => Some(login.checked(&app, base_url, seen.auth).await?),
        None => None,
    };
    let change = db::SourceChange {
        base_url: base.as_deref(),
        requests_per_second: check_given("requests_per_second", change.requests_per_second)?,
        concurrent_requests: check_given("concurrent_requests", change.concurrent_requests)?,
        concurrent_pulls: check_given("concurrent_pulls", change.concurrent_pulls)?,
        pull_interval_s: every,
        enabled: change.enabled,
        types: change.types.as_ref().map(Option::as_deref),
        strategy: change.strategy,
        attachments: change.attachments,
        login: login.as_ref(),
        seen: sets_condition(&headers).then_some(&seen),
    };
    caller.db("source.change").change_source(id, change).await?;
    Ok(entity(&app, id).await?.with(axum::http::StatusCode::OK))
}

async fn base_url_of(app: &App, given: &str) -> Result<CheckedBase, Problem> {
    let given = text("base_url", given, 2000)?;
    Ok(app.checks.base_url(given).await?)
}

async fn entity(app: &App, id: SourceId) -> Result<Entity, Problem> {
    view(app, app.db.source(&id.to_string()).await?).await
}

async fn view(app: &App, source: Source) -> Result<Entity, Problem> {
    let rate = app.db.source_rate(source.id).await?;
    Ok(Entity::new(&SourceView::whole(source, rate)))
}

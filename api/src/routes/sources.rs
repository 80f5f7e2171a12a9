//! `/v1/sources`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use db::{NewSource, Source, SourceAuth, SourceLimits};
use model::{AttachmentPolicy, SourceId, Strategy, is_resource_type};
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use super::logins::LoginBody;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::checks::CheckedBase;
use crate::entity::{Entity, sets_condition};
use crate::extract::{Body, Id, Params, text, whole};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::SourceView;
use crate::views::words::{AttachmentPolicySchema, StrategySchema};

/// A source to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSourceBody {
    /// A name for people, unique.
    #[schema(min_length = 1, max_length = 100, example = "general-hospital")]
    name: String,
    /// Where its FHIR R4 API begins.
    #[schema(
        format = "uri",
        max_length = 2000,
        example = "https://ehr.example/fhir/R4"
    )]
    base_url: String,
    /// Where its tokens come from.
    #[serde(default)]
    auth: AuthBody,
    /// How we are known there, where `auth` is `client_credentials`, `backend_services` or `smart`.
    login: Option<LoginBody>,
    /// How often it may be asked a second, by all workers together; as often as they
    /// like, where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 20)]
    requests_per_second: Option<u32>,
    /// How many requests may wait for its answer, of all workers together. Left out:
    /// as many as a quarter of one worker's `pull_slots` make.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 4)]
    concurrent_requests: Option<u32>,
    /// How many of its pulls are at work at the same time; the others stay queued. Left
    /// out: a few more than its share of the slots keeps busy.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 2)]
    concurrent_pulls: Option<u32>,
    /// How often its connections are pulled by themselves, in seconds; not by
    /// themselves, where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 900, maximum = 7_776_000, example = 86_400)]
    pull_interval_s: Option<u32>,
    /// The types that are asked for, beside the patient and what resources refer to; all
    /// that it has, where they are left out.
    #[schema(min_items = 1, max_items = 200, example = json!(["Condition", "Observation"]))]
    types: Option<Vec<String>>,
    /// How it is asked for a patient's record.
    #[serde(default)]
    #[schema(value_type = StrategySchema)]
    strategy: Strategy,
    /// Whether documents that its resources name by a URL at the source are fetched, or
    /// left there.
    #[serde(default)]
    #[schema(value_type = AttachmentPolicySchema)]
    attachments: AttachmentPolicy,
}

/// How a source wants to be asked.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthBody {
    /// No authentication.
    #[default]
    None,
    /// A bearer token per connection.
    Bearer,
    /// OAuth 2.0 client credentials: a token of our own, for a secret.
    ClientCredentials,
    /// SMART Backend Services: a token of our own, for a signature.
    BackendServices,
    /// SMART App Launch: each connection brings a patient's grant.
    Smart,
}

impl From<AuthBody> for SourceAuth {
    fn from(auth: AuthBody) -> Self {
        match auth {
            AuthBody::None => Self::None,
            AuthBody::Bearer => Self::Bearer,
            AuthBody::ClientCredentials => Self::ClientCredentials,
            AuthBody::BackendServices => Self::BackendServices,
            AuthBody::Smart => Self::Smart,
        }
    }
}

/// What may change of a source; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceChange {
    /// Where its FHIR R4 API begins; the source stays the same one.
    #[schema(format = "uri", max_length = 2000)]
    base_url: Option<String>,
    /// Whether it is pulled from.
    enabled: Option<bool>,
    /// How often it may be asked a second, by all workers together; `null`: as often
    /// as they like.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    requests_per_second: Option<Option<u32>>,
    /// How often its connections are pulled by themselves, in seconds; `null`: not by
    /// themselves. What a connection says for itself goes first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 900, maximum = 7_776_000, example = 86_400)]
    pull_interval_s: Option<Option<u32>>,
    /// How many requests may wait for its answer, of all workers together; `null`: as
    /// many as a quarter of one worker's `pull_slots` make.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    concurrent_requests: Option<Option<u32>>,
    /// How many of its pulls are at work at the same time; `null`: a few more than its
    /// share of the slots keeps busy.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    concurrent_pulls: Option<Option<u32>>,
    /// The types that are asked for, beside the patient and what resources refer to;
    /// `null`: all that it has. What another type brought before stays.
    #[serde(default, deserialize_with = "given_types")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 200, example = json!(["Condition", "Observation"]))]
    types: Option<Option<Vec<String>>>,
    /// How it is asked for a patient's record. Given again, what the source refused
    /// before is tried again.
    #[schema(value_type = Option<StrategySchema>)]
    strategy: Option<Strategy>,
    /// Whether documents that its resources name by a URL at the source are fetched, or
    /// left there. What was fetched before stays.
    #[schema(value_type = Option<AttachmentPolicySchema>)]
    attachments: Option<AttachmentPolicy>,
    /// Another login in the place of the one there is.
    login: Option<LoginBody>,
}

/// Tells `null` from what is left out.
pub(super) fn given<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<u32>>, D::Error> {
    whole(from).map(Some)
}

/// The same for types.
fn given_types<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// FHIR R4 has fewer types than that.
const TYPES_MAX: usize = 200;

fn check_types(types: &[String]) -> Result<(), Problem> {
    let are_types = types.iter().all(|name| is_resource_type(name));
    if are_types && (1..=TYPES_MAX).contains(&types.len()) {
        return Ok(());
    }
    let detail = format!(
        "`types` has 1 to {TYPES_MAX} names of resource types, such as Observation, or is null for all."
    );
    Err(Problem::new(INVALID_VALUE, detail))
}

/// The highest limit that a source may have.
const LIMIT_MAX: u32 = 1000;

fn check_limit(name: &str, limit: Option<u32>) -> Result<Option<u32>, Problem> {
    if limit.is_none_or(|limit| (1..=LIMIT_MAX).contains(&limit)) {
        return Ok(limit);
    }
    let detail = format!("`{name}` is a whole number from 1 to {LIMIT_MAX}, or null.");
    Err(Problem::new(INVALID_VALUE, detail))
}

/// A limit that may be given, by its name.
fn check_given(name: &str, limit: Option<Option<u32>>) -> Result<Option<Option<u32>>, Problem> {
    limit.map(|limit| check_limit(name, limit)).transpose()
}

/// An interval between two pulls, if it may be one.
pub(super) fn check_interval(seconds: u32) -> Result<u32, Problem> {
    db::check_pull_interval(seconds).map_err(|why| {
        let detail = format!("`pull_interval_s` is a whole number of seconds: {why}.");
        Problem::new(INVALID_VALUE, detail)
    })
}

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

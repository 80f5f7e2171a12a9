//! `/v1/keys`.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use db::NewApiKey;
use model::{KeyId, Scope, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::App;
use crate::auth::{Caller, MayAdmin};
use crate::entity::Entity;
use crate::extract::{Body, Id, Params, text, whole};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::words::{KeyIdSchema, ScopeSchema};
use crate::views::{KeyView, NewKeyView};

const DAYS_MAX: u32 = 3650;
const OVERLAP_HOURS_DEFAULT: u32 = 24;
const OVERLAP_HOURS_MAX: u32 = 24 * 30;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, example = "dashboard")]
    name: String,
    /// What it may do.
    #[schema(value_type = Vec<ScopeSchema>, min_items = 1, max_items = 4)]
    scopes: Vec<Scope>,
    /// After how many days it is no longer good; never where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u32>,
}

/// How to replace a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old key stays good beside the new one.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 720, default = 24)]
    overlap_hours: Option<u32>,
}

/// List keys, newest first
#[utoipa::path(get, path = "/v1/keys", operation_id = "listKeys", tag = "keys", params(PageQuery),
    security(("key" = ["admin"])), responses((status = 200, description = "A page.", body = Page<KeyView>)))]
pub(crate) async fn list(
    _: MayAdmin,
    State(app): State<App>,
    Params(query): Params<PageQuery>,
) -> Result<Page<KeyView>, Problem> {
    let asked: Asked<KeyId> = Asked::new(query.limit, query.cursor.as_deref(), KeyId::PREFIX)?;
    let rows = app.db.api_keys(asked.before, asked.rows()).await?;
    Ok(asked.page(rows, |row| row.id.to_string()))
}

/// Make a key; its text is in this answer and nowhere else
#[utoipa::path(post, path = "/v1/keys", operation_id = "addKey", tag = "keys", request_body = NewKeyBody,
    security(("key" = ["admin"])), responses((status = 201, description = "Made.", body = NewKeyView)))]
pub(crate) async fn add(
    MayAdmin(caller): MayAdmin,
    State(app): State<App>,
    Body(body): Body<NewKeyBody>,
) -> Result<Response, Problem> {
    let mut scopes = body.scopes;
    let are_too_many = scopes.len() > Scope::ALL.len();
    scopes.sort_unstable();
    scopes.dedup();
    let days = body.expires_in_days;
    if scopes.is_empty() || are_too_many || days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days))
    {
        let detail = format!(
            "A key has one to four `scopes`, and `expires_in_days` is a whole number from 1 to {DAYS_MAX}."
        );
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    let new = NewApiKey {
        name: text("name", &body.name, 100)?.to_owned(),
        scopes,
        expires_at: days.map(|days| in_hours(days * 24)),
    };
    let secret = Arc::new(OnceLock::new());
    let keep = Arc::clone(&secret);
    let id = caller
        .once("key.add", |db| async move {
            let (id, text) = db.add_api_key(&new).await?;
            keep.get_or_init(|| text);
            Ok(id)
        })
        .await?;
    made(&app, &caller, id, secret.get()).await
}

/// Read a key
#[utoipa::path(get, path = "/v1/keys/{id}", operation_id = "readKey", tag = "keys",
    params(("id" = inline(KeyIdSchema), Path, description = "The key's id.")), security(("key" = ["admin"])),
    responses((status = 200, description = "The key.", body = KeyView)))]
pub(crate) async fn read(
    _: MayAdmin,
    State(app): State<App>,
    Id(id): Id<KeyId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = app.db.api_key(id).await?;
    Ok(Entity::new(&KeyView::from(key)).read(&headers))
}

/// Revoke a key, from the next request on
#[utoipa::path(delete, path = "/v1/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("id" = inline(KeyIdSchema), Path, description = "The key's id.")), security(("key" = ["admin"])),
    responses((status = 200, description = "The key, revoked; its row stays.", body = KeyView)))]
pub(crate) async fn revoke(
    MayAdmin(caller): MayAdmin,
    State(app): State<App>,
    Id(id): Id<KeyId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = KeyView::from(app.db.api_key(id).await?);
    Entity::new(&key).may_change(&headers)?;
    caller.db("key.revoke").revoke_api_key(id).await?;
    let key = app.db.api_key(id).await?;
    Ok(Entity::new(&KeyView::from(key)).with(StatusCode::OK))
}

/// Make a key that takes the place of another; both are good for a while
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", operation_id = "rotateKey", tag = "keys",
    params(("id" = inline(KeyIdSchema), Path, description = "The old key's id.")), request_body = Rotation,
    security(("key" = ["admin"])), responses((status = 201, description = "The new key.", body = NewKeyView)))]
pub(crate) async fn rotate(
    MayAdmin(caller): MayAdmin,
    State(app): State<App>,
    Id(id): Id<KeyId>,
    Body(body): Body<Rotation>,
) -> Result<Response, Problem> {
    let overlap = body.overlap_hours.unwrap_or(OVERLAP_HOURS_DEFAULT);
    if overlap > OVERLAP_HOURS_MAX {
        let detail = format!("`overlap_hours` is a whole number from 0 to {OVERLAP_HOURS_MAX}.");
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    let secret = Arc::new(OnceLock::new());
    let keep = Arc::clone(&secret);
    let new = caller
        .once("key.rotate", |db| async move {
            let (id, text) = db.rotate_api_key(id, in_hours(overlap)).await?;
            keep.get_or_init(|| text);
            Ok(id)
        })
        .await?;
    made(&app, &caller, new, secret.get()).await
}

/// The answer with a key's text, also where the process that made the key ended
/// before it had answered.
async fn made(
    app: &App,
    caller: &Caller,
    id: KeyId,
    secret: Option<&String>,
) -> Result<Response, Problem> {
    let secret = match secret {
        Some(secret) => Some(secret.clone()),
        None => caller.made_secret().await?,
    };
    let view = NewKeyView {
        key: app.db.api_key(id).await?.into(),
        secret: secret.unwrap_or_default(),
    };
    Ok(Entity::new(&view).created(&format!("/v1/keys/{id}")))
}

fn in_hours(hours: u32) -> Timestamp {
    Timestamp::now().after(std::time::Duration::from_secs(u64::from(hours) * 3600))
}

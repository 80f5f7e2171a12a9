//! The handlers: a row or a page of rows, as views.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use db::Db;
use model::{ConnectionId, DestinationId, ExportId, PullId};
use serde_json::{Value, json};

use crate::list::{Id, List, Page};
use crate::problem::Problem;
use crate::views::{ConnectionView, DestinationView, ExportView, PullView};

type Answer<T> = Result<Json<T>, Problem>;

/// The process is up.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({ "status": "up" }))
}

/// The database answers.
pub(crate) async fn ready(State(db): State<Db>) -> Answer<Value> {
    match db.pulls(None, None, 1).await {
        Ok(_) => Ok(Json(json!({ "status": "ready" }))),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            Err(Problem::unready())
        }
    }
}

pub(crate) async fn pulls(State(db): State<Db>, list: List<PullId>) -> Answer<Page<PullView>> {
    let rows = db.pulls(None, list.before, list.asked()).await?;
    Ok(Json(list.page(rows, |pull| pull.id.to_string())))
}

pub(crate) async fn pull(State(db): State<Db>, Id(id): Id<PullId>) -> Answer<PullView> {
    let pull = db.pull(id).await?;
    let (types, held) = (db.pull_types(id).await?, db.held_deletes(id).await?);
    Ok(Json(PullView::whole(pull, types, held)))
}

pub(crate) async fn exports(
    State(db): State<Db>,
    list: List<ExportId>,
) -> Answer<Page<ExportView>> {
    let rows = db.exports(None, list.before, list.asked()).await?;
    Ok(Json(list.page(rows, |export| export.id.to_string())))
}

pub(crate) async fn export(State(db): State<Db>, Id(id): Id<ExportId>) -> Answer<ExportView> {
    Ok(Json(ExportView::whole(db.export(id).await?)))
}

/// Destinations are few: all are read for each page.
pub(crate) async fn destinations(
    State(db): State<Db>,
    list: List<DestinationId>,
) -> Answer<Page<DestinationView>> {
    let mut rows = db.destinations().await?;
    rows.retain(|row| list.before.is_none_or(|before| row.id < before));
    rows.sort_by_key(|row| Reverse(row.id));
    rows.truncate(list.asked() as usize);
    Ok(Json(
        list.page(rows, |destination| destination.id.to_string()),
    ))
}

/// Connections a page of the database holds.
const CONNECTIONS_READ: u32 = 1_000;

/// The database lists connections oldest first, so the newest are found by
/// reading all: hundreds of thousands would want a query of their own.
pub(crate) async fn connections(
    State(db): State<Db>,
    list: List<ConnectionId>,
) -> Answer<Page<ConnectionView>> {
    let asked = list.asked() as usize;
    let (mut newest, mut after) = (Vec::new(), None);
    loop {
        let mut rows = db.connections(after, CONNECTIONS_READ).await?;
        let is_last = rows.len() < CONNECTIONS_READ as usize;
        rows.retain(|row| list.before.is_none_or(|before| row.id < before));
        after = rows.last().map(|row| row.id);
        newest.extend(rows);
        newest.drain(..newest.len().saturating_sub(asked));
        if is_last || after.is_none() {
            break;
        }
    }
    newest.reverse();
    Ok(Json(
        list.page(newest, |connection| connection.id.to_string()),
    ))
}

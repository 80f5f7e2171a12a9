//! `/v1/exports`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use db::RunKind;
use model::{ConnectionId, DestinationId, ExportId, PatientId, RunState, Trigger};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::PageQuery;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::Entity;
use crate::extract::{Body, Id, Params, id};
use crate::list::{Asked, Page};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::words::{DestinationIdSchema, ExportIdSchema, PatientIdSchema};
use crate::views::{ExportErrorView, ExportView};
use crate::wait::Wait;

/// Which exports.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportsQuery {
    /// Entries in a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^1-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only those to this destination.
    #[param(value_type = Option<DestinationIdSchema>, inline)]
    destination_id: Option<String>,
}

/// An export to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewExport {
    /// Where to.
    #[schema(value_type = DestinationIdSchema)]
    destination_id: DestinationId,
    /// Send everything again, not only what is lacking there.
    #[serde(default)]
    full: bool,
    /// Only what is lacking of these patients; all, where it is left out.
    #[schema(value_type = Option<Vec<PatientIdSchema>>, min_items = 1, max_items = 1000)]
    patients: Option<Vec<PatientId>>,
}

/// The most patients that an export may name: they stand in one body and one
/// transaction.
const PATIENTS_MAX: usize = 1000;

/// List exports, newest first
#[utoipa::path(get, path = "/v1/exports", operation_id = "listExports", tag = "exports", params(ExportsQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<ExportView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<ExportsQuery>,
) -> Result<Page<ExportView>, Problem> {
    let asked: Asked<ExportId> =
        Asked::new(query.limit, query.cursor.as_deref(), ExportId::PREFIX)?;
    let destination = query.destination_id.as_deref();
    let destination = destination
        .map(|given| id("destination_id", given))
        .transpose()?;
    let rows = app
        .db
        .exports(destination, asked.before, asked.rows())
        .await?;
    let page = asked.page(rows, |row| row.id.to_string());
    Ok(page.narrowed("destination_id", query.destination_id.as_deref()))
}

/// Start an export, or join the one that is queued
#[utoipa::path(post, path = "/v1/exports", operation_id = "startExport", tag = "exports", params(Wait),
    request_body = NewExport, security(("key" = ["write"])),
    responses((status = 202, description = "The export that does the work.", body = ExportView)))]
pub(crate) async fn start(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Params(wait): Params<Wait>,
    Body(body): Body<NewExport>,
) -> Result<Response, Problem> {
    let patients = body.patients.as_ref();
    if patients.is_some_and(|these| !(1..=PATIENTS_MAX).contains(&these.len())) {
        let detail =
            format!("`patients` names 1 to {PATIENTS_MAX} patients, or is left out for all.");
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    if body.full && patients.is_some() {
        let detail = "`full` sends everything to the destination again: leave `patients` out.";
        return Err(Problem::new(INVALID_VALUE, detail));
    }
    let id = caller
        .once("export.start", |db| async move {
            let destination = body.destination_id;
            match body.patients {
                Some(patients) => db.request_export_of(destination, &patients).await,
                None if body.full => db.request_full_export(destination).await,
                None => db.request_export(destination, Some(Trigger::Manual)).await,
            }
        })
        .await?;
    accepted(&app, id, wait).await
}

/// Read an export: its state and counts
#[utoipa::path(get, path = "/v1/exports/{id}", operation_id = "readExport", tag = "exports",
    params(("id" = inline(ExportIdSchema), Path, description = "The export."), Wait), security(("key" = ["read"])),
    responses((status = 200, description = "The export.", body = ExportView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<ExportId>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = wait.until_ended(|| view(&app, id)).await?;
    Ok(Entity::new(&view).read(&headers))
}

/// List the connections that an export did not deliver, newest first
#[utoipa::path(get, path = "/v1/exports/{id}/errors", operation_id = "listExportErrors", tag = "exports",
    params(("id" = inline(ExportIdSchema), Path, description = "The export."), PageQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<ExportErrorView>)))]
pub(crate) async fn errors(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<ExportId>,
    Params(query): Params<PageQuery>,
) -> Result<Page<ExportErrorView>, Problem> {
    let asked: Asked<ConnectionId> =
        Asked::new(query.limit, query.cursor.as_deref(), ConnectionId::PREFIX)?;
    app.db.export(id).await?;
    let rows = app.db.export_errors(id, asked.before, asked.rows()).await?;
    Ok(asked.page(rows, |row| row.connection_id.to_string()))
}

/// Ask an export to end
#[utoipa::path(post, path = "/v1/exports/{id}/cancel", operation_id = "cancelExport", tag = "exports",
    params(("id" = inline(ExportIdSchema), Path, description = "The export."), Wait), security(("key" = ["write"])),
    responses((status = 202, description = "It will end within 30 seconds; what it has published stays.",
        body = ExportView)))]
pub(crate) async fn cancel(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<ExportId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    caller
        .once("export.cancel", |db| async move {
            db.request_cancel(RunKind::Export, &id.to_string())
                .await
                .map(|()| id)
        })
        .await?;
    accepted(&app, id, wait).await
}

/// Start an export that makes up for one that did not deliver everything
#[utoipa::path(post, path = "/v1/exports/{id}/retry", operation_id = "retryExport", tag = "exports",
    params(("id" = inline(ExportIdSchema), Path, description = "The export."), Wait), security(("key" = ["write"])),
    responses((status = 202, description = "The export that does the work.", body = ExportView)))]
pub(crate) async fn retry(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<ExportId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    let retry = caller
        .once(
            "export.retry",
            |db| async move { db.retry_export(id).await },
        )
        .await?;
    accepted(&app, retry, wait).await
}

async fn accepted(app: &App, id: ExportId, wait: Wait) -> Result<Response, Problem> {
    let view = wait.until_ended(|| view(app, id)).await?;
    Ok(Entity::new(&view).accepted(&format!("/v1/exports/{id}")))
}

async fn view(app: &App, id: ExportId) -> Result<(RunState, ExportView), Problem> {
    let export = app.db.export(id).await?;
    let patients = app.db.export_patients(id).await?;
    let progress = match export.state {
        RunState::Running => Some(app.db.export_progress(id).await?),
        _ => None,
    };
    Ok((export.state, ExportView::whole(export, patients, progress)))
}

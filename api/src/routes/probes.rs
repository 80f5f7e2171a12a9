//! `/v1/probes`: tests and rehearsals of destinations.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{DestinationId, ProbeId, ProbeKind, RunState};

use crate::App;
use crate::auth::{Caller, MayRead, MayWrite};
use crate::entity::Entity;
use crate::extract::{Id, Params};
use crate::problem::Problem;
use crate::views::ProbeView;
use crate::views::words::{DestinationIdSchema, ProbeIdSchema};
use crate::wait::Wait;

/// Test whether a destination can be written to; enables it if it awaits that
#[utoipa::path(post, path = "/v1/destinations/{id}/test", operation_id = "testDestination", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination."), Wait),
    security(("key" = ["write"])), responses((status = 202, description = "The test that will tell, or tells.",
        body = ProbeView)))]
pub(crate) async fn test(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    ask(&app, &caller, "destination.test", id, ProbeKind::Test, wait).await
}

/// Count what an export to a destination would deliver now
#[utoipa::path(post, path = "/v1/destinations/{id}/rehearse", operation_id = "rehearseExport", tag = "destinations",
    params(("id" = inline(DestinationIdSchema), Path, description = "The destination."), Wait),
    security(("key" = ["write"])), responses((status = 202, description = "The rehearsal that will tell, or tells.",
        body = ProbeView)))]
pub(crate) async fn rehearse(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Id(id): Id<DestinationId>,
    Params(wait): Params<Wait>,
) -> Result<Response, Problem> {
    let kind = ProbeKind::Rehearsal;
    ask(&app, &caller, "destination.rehearse", id, kind, wait).await
}

/// Read a test or a rehearsal: its verdicts or its figures
#[utoipa::path(get, path = "/v1/probes/{id}", operation_id = "readProbe", tag = "destinations",
    params(("id" = inline(ProbeIdSchema), Path, description = "The test or rehearsal."), Wait),
    security(("key" = ["read"])), responses((status = 200, description = "As far as it is.", body = ProbeView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<ProbeId>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = wait.until_ended(|| view(&app, id)).await?;
    Ok(Entity::new(&view).read(&headers))
}

async fn ask(
    app: &App,
    caller: &Caller,
    action: &'static str,
    destination: DestinationId,
    kind: ProbeKind,
    wait: Wait,
) -> Result<Response, Problem> {
    let id = caller
        .once(action, |db| async move {
            db.request_probe(destination, kind).await
        })
        .await?;
    let view = wait.until_ended(|| view(app, id)).await?;
    Ok(Entity::new(&view).accepted(&format!("/v1/probes/{id}")))
}

async fn view(app: &App, id: ProbeId) -> Result<(RunState, ProbeView), Problem> {
    let probe = app.db.probe(id).await?;
    Ok((probe.state, ProbeView::from(probe)))
}

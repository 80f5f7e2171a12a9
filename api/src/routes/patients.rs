//! `/v1/patients`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::PatientId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::App;
use crate::auth::{MayRead, MayWrite};
use crate::entity::Entity;
use crate::extract::{Body, Params, PathText, text};
use crate::list::{Asked, Page};
use crate::problem::Problem;
use crate::views::PatientView;

/// A patient to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPatient {
    /// Your own name for this person, unique: a number or a pseudonym.
    #[schema(min_length = 1, max_length = 128, example = "member-4711")]
    external_id: Option<String>,
}

/// List patients, newest first
#[utoipa::path(get, path = "/v1/patients", operation_id = "listPatients", tag = "patients", params(PageQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<PatientView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Params(query): Params<PageQuery>,
) -> Result<Page<PatientView>, Problem> {
    let asked: Asked<PatientId> =
        Asked::new(query.limit, query.cursor.as_deref(), PatientId::PREFIX)?;
    let rows = app.db.patients(asked.before, asked.rows()).await?;
    Ok(asked.page(rows, |row| row.id.to_string()))
}

/// Add a patient
#[utoipa::path(post, path = "/v1/patients", operation_id = "addPatient", tag = "patients",
    request_body = NewPatient, security(("key" = ["write"])),
    responses((status = 201, description = "Added.", body = PatientView)))]
pub(crate) async fn add(
    MayWrite(caller): MayWrite,
    State(app): State<App>,
    Body(body): Body<NewPatient>,
) -> Result<Response, Problem> {
    let external_id = body.external_id.as_deref();
    let external_id = external_id
        .map(|id| text("external_id", id, 128))
        .transpose()?;
    let id: PatientId = caller
        .once("patient.add", |db| async move {
            db.add_patient(external_id).await
        })
        .await?;
    let patient = app.db.patient(&id.to_string()).await?;
    Ok(Entity::new(&PatientView::from(patient)).created(&format!("/v1/patients/{id}")))
}

/// Read a patient, by id or by your own name for it
#[utoipa::path(get, path = "/v1/patients/{id}", operation_id = "readPatient", tag = "patients",
    params(("id" = String, Path, description = "The patient's id or external id.", min_length = 1, max_length = 128)),
    security(("key" = ["read"])), responses((status = 200, description = "The patient.", body = PatientView)))]
pub(crate) async fn read(
    _: MayRead,
    State(app): State<App>,
    PathText(id): PathText,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let patient = app.db.patient(&id).await?;
    Ok(Entity::new(&PatientView::from(patient)).read(&headers))
}

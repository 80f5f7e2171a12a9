//! `/v1/audit`.

use axum::extract::State;
use model::AuditId;

use super::PageQuery;
use crate::App;
use crate::auth::MayAdmin;
use crate::extract::Params;
use crate::list::{Asked, Page};
use crate::problem::Problem;
use crate::views::AuditView;

/// Read the audit log, newest first: who changed what, and what was disclosed to which destination
#[utoipa::path(get, path = "/v1/audit", operation_id = "listAudit", tag = "audit", params(PageQuery),
    security(("key" = ["admin"])), responses((status = 200, description = "A page.", body = Page<AuditView>)))]
pub(crate) async fn list(
    _: MayAdmin,
    State(app): State<App>,
    Params(query): Params<PageQuery>,
) -> Result<Page<AuditView>, Problem> {
    let asked: Asked<AuditId> = Asked::new(query.limit, query.cursor.as_deref(), AuditId::PREFIX)?;
    let rows = app.db.audit(asked.before, asked.rows()).await?;
    Ok(asked.page(rows, |row| row.id.to_string()))
}

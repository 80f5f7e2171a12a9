//! `/v1/connections/{id}/attachments`.

use axum::extract::State;
use model::{AttachmentId, AttachmentState, ConnectionId};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::auth::MayRead;
use crate::extract::{Id, Params};
use crate::list::{Asked, Page};
use crate::problem::Problem;
use crate::views::AttachmentView;
use crate::views::words::{AttachmentStateSchema, ConnectionIdSchema};

/// Which attachments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachmentsQuery {
    /// Entries in a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^1-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only those in this state.
    #[param(value_type = Option<AttachmentStateSchema>, inline)]
    state: Option<AttachmentState>,
}

/// List the documents that a connection's resources name by a URL, newest first
#[utoipa::path(get, path = "/v1/connections/{id}/attachments", operation_id = "listAttachments", tag = "connections",
    params(("id" = inline(ConnectionIdSchema), Path, description = "The connection."), AttachmentsQuery),
    security(("key" = ["read"])), responses((status = 200, description = "A page.", body = Page<AttachmentView>)))]
pub(crate) async fn list(
    _: MayRead,
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
    Params(query): Params<AttachmentsQuery>,
) -> Result<Page<AttachmentView>, Problem> {
    let asked: Asked<AttachmentId> =
        Asked::new(query.limit, query.cursor.as_deref(), AttachmentId::PREFIX)?;
    app.db.connection_summary(id).await?;
    let rows = app
        .db
        .attachments(id, query.state, asked.before, asked.rows())
        .await?;
    let page = asked.page(rows, |row| row.id.to_string());
    Ok(page.narrowed("state", query.state.map(AttachmentState::as_str)))
}

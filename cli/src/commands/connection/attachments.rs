//! `chartlift connection attachments`: documents that resources name by a URL.

use anyhow::Result;
use api::views::AttachmentView;
use clap::Args;
use db::Db;
use model::{AttachmentId, AttachmentState, ConnectionId};

use crate::output::{grouped, or_dash, print_list};

/// Which attachments.
#[derive(Debug, Args)]
pub(crate) struct AttachmentArguments {
    /// The connection's id
    connection: ConnectionId,
    /// Those in this state only: fetched, failed, refused, gone, too_large,
    /// type_not_allowed or elsewhere
    #[arg(long)]
    state: Option<AttachmentState>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Those before this one
    #[arg(long, value_name = "ID")]
    before: Option<AttachmentId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists attachments, newest first.
pub(super) async fn list(db: &Db, asked: AttachmentArguments) -> Result<()> {
    let id = db.connection_summary(asked.connection).await?.id;
    let rows = db
        .attachments(id, asked.state, asked.before, asked.limit)
        .await?;
    let rows: Vec<AttachmentView> = rows.into_iter().map(AttachmentView::from).collect();
    let headers = [
        "ID",
        "NAMED BY",
        "STATE",
        "CODE",
        "TYPE",
        "BYTES",
        "FETCHED",
        "NOT BEFORE",
    ];
    print_list(
        asked.json,
        &rows,
        &headers,
        "no attachments: none of the connection's resources names one by a URL, or none was pulled yet",
        |row| {
            vec![
                row.id.to_string(),
                row.resource_type.clone(),
                row.state.to_string(),
                or_dash(row.code.as_ref()),
                or_dash(row.content_type.as_ref().or(row.declared_type.as_ref())),
                or_dash(row.size_bytes.map(grouped)),
                or_dash(row.fetched_at.as_ref()),
                or_dash(row.not_before.as_ref()),
            ]
        },
    )
}

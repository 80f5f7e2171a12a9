//! What comes of a storm is what comes of peace.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use chartlift_tests::{App, delivered_files, parquet_rows};
use model::{AttachmentState, ConnectionId, DestinationId, FileFormat, RunState};

/// Fails if a run ended otherwise than completed or cancelled.
pub(super) async fn all_but_cancelled_completed(app: &App) -> Result<()> {
    let db = &app.core.db;
    for pull in db.pulls(None, None, 10_000).await? {
        ensure!(
            is_fine(pull.state),
            "{} is {} ({:?})",
            pull.id,
            pull.state,
            pull.error_code
        );
    }
    for export in db.exports(None, None, 10_000).await? {
        ensure!(
            is_fine(export.state),
            "{} is {} ({:?})",
            export.id,
            export.state,
            export.error_code
        );
    }
    Ok(())
}

fn is_fine(state: RunState) -> bool {
    matches!(state, RunState::Completed | RunState::Cancelled)
}

/// What each attachment's URL brought: whose it is, the URL, what became of it, and the
/// SHA-256 of its bytes.
pub(super) async fn documents(
    app: &App,
) -> Result<BTreeMap<(ConnectionId, String), (AttachmentState, Option<String>)>> {
    let db = &app.core.db;
    let mut found = BTreeMap::new();
    for summary in db.connections(None, 10_000).await? {
        for row in db.open_attachments(summary.id).await? {
            let sha256 = row.of.object.map(|object| object.sha256);
            let earlier = found.insert((summary.id, row.url), (row.of.state, sha256));
            ensure!(earlier.is_none(), "a URL has two rows");
        }
    }
    Ok(found)
}

/// NDJSON: equal files, chunk by chunk. Parquet: equal rows in all columns but
/// the export's id.
pub(super) async fn same_files(
    twin: &App,
    of_twin: DestinationId,
    app: &App,
    of_app: DestinationId,
) -> Result<()> {
    let (peaceful, disturbed) = (twin.delivered(of_twin).await?, app.delivered(of_app).await?);
    let row = app.core.db.destination(&of_app.to_string()).await?;
    if row.format == FileFormat::Parquet {
        let twin_row = twin.core.db.destination(&of_twin.to_string()).await?;
        ensure!(
            parquet_rows(&twin.folder_of(&twin_row.location), &peaceful)?
                == parquet_rows(&app.folder_of(&row.location), &disturbed)?,
            "{}: other rows than undisturbed",
            row.name
        );
    } else {
        ensure!(
            delivered_files(&peaceful) == delivered_files(&disturbed),
            "{}: other files than undisturbed",
            row.name
        );
    }
    ensure!(!disturbed.all().is_empty(), "{} is empty", row.name);
    Ok(())
}

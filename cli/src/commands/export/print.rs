//! Exports as they are printed.

use anyhow::Result;
use api::views::{ExportErrorView, ExportView};
use db::Db;
use model::ExportId;

use crate::commands::pull::because;
use crate::output::{bytes, grouped, or_dash, print_line, print_list};

/// Errors read from the database at a time.
const ERRORS_PAGE: u32 = 1000;

pub(super) async fn errors(db: &Db, export: ExportId, json: bool) -> Result<()> {
    db.export(export).await?;
    let (mut errors, mut before) = (Vec::new(), None);
    loop {
        let page = db.export_errors(export, before, ERRORS_PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.connection_id);
        errors.extend(page.into_iter().map(ExportErrorView::from));
    }
    print_list(
        json,
        &errors,
        &["CONNECTION", "PATIENT", "CODE", "RESOURCES"],
        "nothing failed",
        |error| {
            vec![
                error.connection_id.to_string(),
                error.patient_id.to_string(),
                or_dash(error.error_code.as_ref()),
                grouped(error.counts.failed),
            ]
        },
    )
}

pub(super) fn show(export: &ExportView) {
    let counts = &export.counts;
    print_line(&format!("export        {}", export.id));
    print_line(&format!("destination   {}", export.destination_id));
    print_line(&format!(
        "state         {}{}",
        export.state,
        because(export.error_code.as_deref())
    ));
    print_line(&format!("created       {}", export.created_at));
    print_line(&format!(
        "started       {}",
        or_dash(export.started_at.as_ref())
    ));
    print_line(&format!(
        "finished      {}",
        or_dash(export.finished_at.as_ref())
    ));
    for trigger in export.triggers.iter().flatten() {
        print_line(&format!(
            "asked for     {} × {}",
            trigger.reason, trigger.count
        ));
    }
    print_line(&format!("patients      {}", grouped(export.patients)));
    print_line(&format!(
        "resources     {} planned = {} delivered + {} skipped + {} failed",
        grouped(counts.planned),
        grouped(counts.delivered),
        grouped(counts.skipped),
        grouped(counts.failed)
    ));
    let (files, size) = (grouped(export.part_count), bytes(export.size_bytes));
    print_line(&format!("files         {files}, {size}"));
    print_line(&format!("publications  {}", export.publication_count));
}

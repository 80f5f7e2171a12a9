//! Asking for exports, ending them, and waiting for them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use db::{Db, RunKind};
use model::{DestinationId, ExportId, PatientId, RunState, Trigger};

use crate::commands::pull::because;
use crate::output::print_line;

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn enabled(db: &Db) -> Result<Vec<DestinationId>> {
    let all = db.destinations().await?;
    Ok(all
        .into_iter()
        .filter(|destination| destination.enabled)
        .map(|destination| destination.id)
        .collect())
}

pub(super) async fn named(db: &Db, names: &[String]) -> Result<Vec<DestinationId>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(db.destination(name).await?.id);
    }
    Ok(found)
}

pub(super) async fn patients_named(db: &Db, names: &[String]) -> Result<Vec<PatientId>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(db.patient(name).await?.id);
    }
    Ok(found)
}

pub(super) async fn start(
    db: &Db,
    destinations: Vec<DestinationId>,
    full: bool,
    patients: &[PatientId],
    wait: bool,
) -> Result<ExitCode> {
    if destinations.is_empty() {
        bail!("there is no enabled destination: `chartlift destination add`");
    }
    let mut exports = Vec::with_capacity(destinations.len());
    for destination in destinations {
        let export = if full {
            db.request_full_export(destination).await?
        } else if !patients.is_empty() {
            db.request_export_of(destination, patients).await?
        } else {
            db.request_export(destination, Some(Trigger::Manual))
                .await?
        };
        print_line(&export.to_string());
        exports.push(export);
    }
    follow(db, exports, wait).await
}

pub(super) async fn cancel(db: &Db, export: ExportId, wait: bool) -> Result<ExitCode> {
    db.request_cancel(RunKind::Export, &export.to_string())
        .await?;
    if wait {
        let ended = ended(db, export).await?;
        eprintln!(
            "{export} {}{}",
            ended.state,
            because(ended.error_code.as_deref())
        );
    } else {
        eprintln!("asked to end: a running worker sees to it within seconds");
    }
    Ok(ExitCode::SUCCESS)
}

async fn ended(db: &Db, id: ExportId) -> Result<db::Export> {
    loop {
        let export = db.export(id).await?;
        if export.state.is_final() {
            return Ok(export);
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) async fn follow(db: &Db, exports: Vec<ExportId>, wait: bool) -> Result<ExitCode> {
    if !wait {
        eprintln!("queued: a running worker starts them within seconds");
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for id in exports {
        let export = ended(db, id).await?;
        eprintln!(
            "{id} {}{}",
            export.state,
            because(export.error_code.as_deref())
        );
        if export.state != RunState::Completed {
            code = ExitCode::from(1);
        }
    }
    Ok(code)
}

//! `chartlift destination test` and `rehearse`: carried out here, not by a worker.

use std::process::ExitCode;

use activities::Destinations;
use anyhow::Result;
use db::Destination;
use model::ProbeKind;
use worker::Core;

use crate::output::{bytes, grouped, print_json, print_line};

/// Tests a destination and keeps what was found: one that awaits its test is enabled
/// by passing it.
pub(super) async fn test(core: &Core, destination: &Destination, json: bool) -> Result<ExitCode> {
    let destinations = Destinations::new(core.db.clone(), core.guard.clone());
    let probe = core
        .db
        .request_probe(destination.id, ProbeKind::Test)
        .await?;
    let report = activities::test_destination(&destinations, destination).await;
    let code = report.error_code();
    core.db.end_probe(probe, &report, code).await?;
    if json {
        print_json(&report)?;
    } else {
        for result in &report.checks {
            let why = result.message.as_deref().unwrap_or_default();
            let line = format!("{:<12} {:<8} {why}", result.check, result.verdict);
            print_line(line.trim_end());
        }
    }
    Ok(if code.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Counts what an export would deliver now.
pub(super) async fn rehearse(core: &Core, destination: &Destination, json: bool) -> Result<()> {
    let found = activities::rehearse(&core.db, &core.store, destination).await?;
    if json {
        return print_json(&found);
    }
    print_line(&format!("patients      {}", grouped(found.patients)));
    print_line(&format!("connections   {}", grouped(found.connections)));
    print_line(&format!("resources     {}", grouped(found.resources)));
    print_line(&format!("deletions     {}", grouped(found.deletions)));
    print_line(&format!(
        "size          {} as JSON",
        bytes(found.size_bytes)
    ));
    Ok(())
}

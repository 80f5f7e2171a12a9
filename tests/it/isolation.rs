//! A portal that hangs, one that is slow and a destination that refuses take
//! nothing that the others need.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, chain, slot_waits};
use db::SourceLimits;
use model::{ConnectionId, DestinationId, FileFormat, RunState};
use sandbox::{Knobs, Sandbox, SandboxOptions};
use steps::{DestinationExport, PatientPull};

const LIMIT: Duration = Duration::from_secs(60);
/// How long a step may wait for a slot.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Connects every patient of another portal.
async fn portal(app: &App, name: &str, knobs: Knobs) -> Result<(Sandbox, Vec<ConnectionId>)> {
    let sandbox = Sandbox::start(SandboxOptions::default()).await?;
    sandbox.portal().set_knobs(knobs);
    let db = &app.core.db;
    app.add_source(name, sandbox.base_url(), SourceLimits::default())
        .await?;
    let mut connections = Vec::new();
    for (number, patient) in sandbox.patients().into_iter().enumerate() {
        let external = format!("{name}-{number}");
        let id = patient.id;
        connections
            .push(activities::register::add_connection(db, &external, name, id, None).await?);
    }
    Ok((sandbox, connections))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_is_slow_or_refuses_holds_up_nobody_else() -> Result<()> {
    let settings = [
        // Few slots, so that two portals could take them all.
        ("worker.pull_slots", "12"),
        ("worker.streams_per_pull", "2"),
        ("worker.export_slots", "4"),
    ];
    let mut app = App::start(AppOptions::with(&settings)).await?;
    let hang = Knobs {
        hang: app
            .sandbox
            .portal()
            .expected("12345")
            .into_keys()
            .map(|(name, _)| name)
            .collect(),
        ..Knobs::default()
    };
    let slow = Knobs {
        requests_per_second: Some(1),
        ..Knobs::default()
    };
    let (_hanging, stuck) = portal(&app, "hanging", hang).await?;
    let (_slow, trickling) = portal(&app, "slow", slow).await?;
    // All of theirs are queued before the others are.
    app.pull(&stuck).await?;
    app.pull(&trickling).await?;
    let refusing = app.destination("refusing", FileFormat::Parquet).await?;
    let owner = app.files("refusing").join("_chartlift/owner.json");
    let other = DestinationId::new().to_string();
    let foreign = std::fs::read_to_string(&owner)?.replace(&refusing.to_string(), &other);
    std::fs::write(&owner, foreign)?;
    let willing = app.destination("willing", FileFormat::Parquet).await?;

    let patients = crate::delivery_exact::small_patients(&app);
    let names: Vec<&str> = patients.iter().map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    let pulls = app.pull(&connections).await?;
    app.until(LIMIT, "the others have finished", async |app: &mut App| {
        for pull in &pulls {
            if !app.core.db.pull(*pull).await?.state.is_final() {
                return Ok(false);
            }
        }
        let due = app.core.db.due_destinations(Duration::ZERO).await?;
        let export = app.core.db.exports(Some(willing), None, 1).await?;
        Ok(!due.contains(&willing) && export.first().is_some_and(|of| of.state.is_final()))
    })
    .await?;
    for pull in &pulls {
        let pull = app.core.db.pull(*pull).await?;
        ensure!(pull.state == RunState::Completed, "{pull:?}");
    }
    let refused = app.core.db.exports(Some(refusing), None, 100).await?;
    ensure!(
        refused
            .iter()
            .any(|export| export.state == RunState::Failed),
        "{refused:?}"
    );
    let hanging = app.core.db.pulls(Some(stuck[0]), None, 1).await?.remove(0);
    ensure!(hanging.state == RunState::Running, "{hanging:?}");

    // No step of the others waited for a slot.
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let mut histories =
        chain::<DestinationExport>(&client, &DestinationExport::id(willing)).await?;
    for connection in &connections {
        histories.extend(chain::<PatientPull>(&client, &PatientPull::id(*connection)).await?);
    }
    let mut step_count = 0;
    for history in &histories {
        for (step, wait) in slot_waits(history)? {
            ensure!(wait <= WAIT_MAX, "{step} waited {wait:?} for a slot");
            step_count += 1;
        }
    }
    ensure!(step_count >= 6 * connections.len(), "{step_count} steps");
    // Those that hang would drain for long.
    app.node().kill()
}

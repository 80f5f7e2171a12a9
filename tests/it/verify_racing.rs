//! `verify` may be run at any time: what is in flight is no finding. Pulls, exports,
//! full re-sends, cancels, merges and sweeps go on beside it.

use std::time::{Duration, Instant};

use activities::verify::{VerifyOptions, verify};
use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::RunKind;
use model::{FileFormat, Trigger};

use crate::delivery_exact::small_patients;

/// Rounds of changes, pulls and exports.
const ROUNDS: usize = 6;
/// A round that lasts longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_runs_go_on() -> Result<()> {
    let settings = [
        // Many exports, of many parts.
        ("worker.linger_ms", "0"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.chunk_rows_target", "50"),
        // Logs that are merged, and swept, all the time.
        ("maintain.interval_ms", "50"),
        ("maintain.merge_batches", "2"),
        ("maintain.superseded_age_ms", "200"),
        ("maintain.orphan_age_ms", "2000"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut app = App::start(AppOptions {
        settings: settings.into(),
        ..AppOptions::default()
    })
    .await?;
    let patients = small_patients(&app);
    let mut chosen = vec!["12345"];
    chosen.extend(patients[..3].iter().map(String::as_str));
    chosen.push(&patients[patients.len() - 2]);
    let connections = app.connect(&chosen).await?;
    let lines = app.destination("lines", FileFormat::NdjsonZstd).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    let (mut looks, mut disturbed, mut cancelled) = (0, 0, 0);
    for round in 0..ROUNDS {
        change(&app, round);
        app.pull(&connections).await?;
        if round == ROUNDS / 2 {
            app.core.db.request_full_export(parquet).await?;
        }
        let (until, mut may_cancel) = (Instant::now() + LIMIT, round % 2 == 1);
        loop {
            let options = VerifyOptions {
                bodies: looks % 2 == 0,
            };
            let report = verify(
                &app.core.db,
                &app.core.store,
                &app.core.destinations(),
                &options,
            )
            .await?;
            ensure!(report.is_clean(), "look {looks}: {:#?}", report.findings);
            looks += 1;
            disturbed += usize::from(!report.in_flight.is_empty());
            let export = report.in_flight.iter().find(|run| run.starts_with("exp_"));
            if let Some(export) = export.filter(|_| may_cancel) {
                // One that has ended meanwhile cannot be.
                let asked = app.core.db.request_cancel(RunKind::Export, export).await;
                cancelled += usize::from(asked.is_ok());
                may_cancel = asked.is_err();
            }
            if is_quiet(&app).await? {
                break;
            }
            ensure!(Instant::now() < until, "round {round} does not end");
        }
    }
    println!("{looks} looks, {disturbed} of them while a run was at work, {cancelled} cancels");
    ensure!(
        disturbed >= ROUNDS,
        "{disturbed} of {looks} looks met a run"
    );
    // What cancelling has held back comes with the next start.
    for destination in [lines, parquet] {
        app.core
            .db
            .request_export(destination, Some(Trigger::Manual))
            .await?;
    }
    app.idle(LIMIT).await?;
    app.verified().await?;
    app.down()
}

/// Changes some resources of the portal, and removes one.
fn change(app: &App, round: usize) {
    let portal = app.sandbox.portal();
    for number in 0..20 {
        let (id, value) = (number % (3 + round), round * 100 + number);
        portal.put(&format!(
            r#"{{"resourceType":"Observation","id":"race-{id}","status":"final","subject":{{"reference":"Patient/12345"}},"valueInteger":{value}}}"#
        ));
    }
    portal.remove("Observation", &format!("race-{}", round % 3));
}

/// Whether nothing is open, and nothing is about to be.
async fn is_quiet(app: &App) -> Result<bool> {
    let db = &app.core.db;
    Ok(db.due_destinations(Duration::ZERO).await?.is_empty() && db.open_run_count().await? == 0)
}

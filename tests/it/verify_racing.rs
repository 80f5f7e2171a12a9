//! `verify` may be run at any time: what is in flight is no finding.

use std::time::{Duration, Instant};

use activities::verify::{VerifyOptions, verify};
use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::FileFormat;

use crate::delivery_exact::small_patients;

/// Rounds of changes, pulls and exports.
const ROUNDS: usize = 6;
/// A round that lasts longer hangs.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_runs_go_on() -> Result<()> {
    let settings = [
        // Many exports, of many parts.
        ("worker.linger_ms", "0"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.chunk_rows_target", "50"),
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
    for format in [FileFormat::NdjsonZstd, FileFormat::Parquet] {
        app.destination(format.as_str(), format).await?;
    }
    let (mut looks, mut disturbed) = (0, 0);
    for round in 0..ROUNDS {
        for number in 0..20 {
            let (id, value) = (number % (3 + round), round * 100 + number);
            app.sandbox.portal().put(&format!(
                r#"{{"resourceType":"Observation","id":"race-{id}","status":"final","subject":{{"reference":"Patient/12345"}},"valueInteger":{value}}}"#
            ));
        }
        let gone = format!("race-{}", round % 3);
        app.sandbox.portal().remove("Observation", &gone);
        app.pull(&connections).await?;
        let until = Instant::now() + LIMIT;
        loop {
            let options = VerifyOptions {
                bodies: looks % 2 == 0,
            };
            let report = verify(&app.core.db, &app.core.store, &options).await?;
            ensure!(report.is_clean(), "look {looks}: {:#?}", report.findings);
            looks += 1;
            disturbed += usize::from(!report.in_flight.is_empty());
            // Nothing is open, and nothing is about to be.
            if app
                .core
                .db
                .due_destinations(Duration::ZERO)
                .await?
                .is_empty()
                && app.core.db.open_run_count().await? == 0
            {
                break;
            }
            ensure!(Instant::now() < until, "round {round} does not end");
        }
    }
    println!("{looks} looks, {disturbed} of them while a run was at work");
    ensure!(
        disturbed >= ROUNDS,
        "{disturbed} of {looks} looks met a run"
    );
    app.all_completed().await?;
    app.down()
}

//! What is delivered is exactly what the portal holds, token for token, in every
//! format, by the reckoning of DuckDB and pyarrow.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, lines_of, python, repository, skipped};
use model::FileFormat;

/// Small histories and the edge cases; the demo test takes them all.
pub(crate) fn small_patients(app: &App) -> Vec<String> {
    let mut sized: Vec<(usize, String)> = app
        .sandbox
        .patients()
        .into_iter()
        .map(|patient| (app.sandbox.portal().expected(&patient.id).len(), patient.id))
        .collect();
    sized.sort();
    // The seven lone Patients, the edge cases and the two smallest histories.
    sized.into_iter().take(10).map(|(_, id)| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_holds_exactly_what_the_portal_holds() -> Result<()> {
    let Some(python) = python() else {
        skipped("no Python with DuckDB and pyarrow: run `cargo xtask test`");
        return Ok(());
    };
    let mut app = App::start(AppOptions::default()).await?;
    let patients = small_patients(&app);
    let names: Vec<&str> = patients.iter().map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    for format in FileFormat::ALL {
        app.destination(format.as_str(), *format).await?;
    }
    app.pull(&connections).await?;
    app.idle(Duration::from_secs(90)).await?;
    app.all_completed().await?;
    app.verified().await?;

    let mut expected = Vec::new();
    for patient in &patients {
        for text in app.sandbox.portal().expected(patient).values() {
            expected.extend_from_slice(text);
            expected.push(b'\n');
        }
    }
    let oracle = app.dir.path().join("expected.ndjson");
    std::fs::write(&oracle, &expected)?;
    let script = repository().join("tests/it/delivery_exact.py");
    let output = Command::new(python)
        .arg(script)
        .args([app.files(""), oracle, repository().join("sandbox/data")])
        .output()
        .context("run Python")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_without_an_id_or_a_type_are_counted_rejected() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let connections = app.connect(&["12345"]).await?;
    let destination = app.destination("plain", FileFormat::Ndjson).await?;
    let pulls = app.pull(&connections).await?;
    app.idle(Duration::from_secs(60)).await?;
    let pull = app.core.db.pull(pulls[0]).await?;
    ensure!(pull.counts.rejected == 2, "{:?}", pull.counts);
    ensure!(pull.counts.is_true(), "{:?}", pull.counts);

    let delivered = app.delivered(destination).await?;
    let row = app.core.db.destination("plain").await?;
    let mut lines = BTreeSet::new();
    for part in delivered
        .publications
        .iter()
        .flat_map(|publication| &publication.parts)
    {
        lines.extend(lines_of(&app.folder_of(&row.location).join(&part.path))?);
    }
    let expected: BTreeSet<Vec<u8>> = app
        .sandbox
        .portal()
        .expected("12345")
        .into_values()
        .collect();
    ensure!(
        lines == expected,
        "{} lines delivered, {} expected",
        lines.len(),
        expected.len()
    );
    let text: Vec<u8> = lines.into_iter().flatten().collect();
    let text = String::from_utf8(text)?;
    for token in [
        "1.10",
        "0.00",
        "500.000000",
        "1.0E-2",
        "-0.0",
        "12345678901234567.89",
    ] {
        ensure!(
            text.contains(&format!("\"value\":{token}")),
            "{token} did not survive"
        );
    }
    app.down()
}

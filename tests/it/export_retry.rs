//! Making up for exports that did not deliver everything, sending everything
//! again, and leaving alone what refuses.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, Delivered, python, repository, skipped};
use model::{DestinationId, FileFormat, RunState, Trigger};

const LIMIT: Duration = Duration::from_secs(90);

async fn folder(app: &App, id: DestinationId) -> Result<PathBuf> {
    let row = app.core.db.destination(&id.to_string()).await?;
    Ok(app.folder_of(&row.location))
}

fn paths(delivered: &Delivered, publication: usize) -> Vec<&str> {
    let parts = &delivered.publications[publication].parts;
    parts.iter().map(|part| part.path.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_delivers_what_failed_and_nothing_twice() -> Result<()> {
    let mut app = App::start(AppOptions::with(&[("worker.chunk_rows_target", "1")])).await?;
    let patients = crate::delivery_exact::small_patients(&app);
    let connections = app.connect(&[patients[0].as_str(), "12345"]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.down()?;

    // One connection's batch is damaged: its chunk cannot be read, the other's can.
    let batch = app.core.db.batches(connections[1], 0, 1).await?.remove(0);
    let batch = app.records().join(batch.object_key);
    let sound = std::fs::read(&batch)?;
    let mut damaged = sound.clone();
    damaged[9] ^= 1;
    std::fs::write(&batch, damaged)?;
    let lake = app.destination("lake", FileFormat::Parquet).await?;
    app.up(&[])?;
    app.until(LIMIT, "the export has ended", async |app: &mut App| {
        let exports = app.core.db.exports(Some(lake), None, 1).await?;
        Ok(exports
            .first()
            .is_some_and(|export| export.state.is_final()))
    })
    .await?;
    let partial = app.core.db.exports(Some(lake), None, 1).await?.remove(0);
    ensure!(partial.state == RunState::Partial, "{partial:?}");
    ensure!(partial.counts.failed > 0 && partial.counts.delivered > 0);
    let first = app.delivered(lake).await?;
    // The connection that failed is left alone, so that nothing is due.
    ensure!(
        app.core
            .db
            .due_destinations(Duration::ZERO)
            .await?
            .is_empty()
    );

    std::fs::write(&batch, sound)?;
    app.verified().await?;
    let retry = app.core.db.retry_export(partial.id).await?;
    app.idle(LIMIT).await?;
    let retried = app.core.db.export(retry).await?;
    ensure!(
        retried.state == RunState::Completed && retried.retry_of == Some(partial.id),
        "{retried:?}"
    );
    ensure!(
        retried
            .triggers
            .iter()
            .any(|of| of.reason == Trigger::Retry)
    );
    ensure!(
        retried.patients == 1,
        "{} patients, not one",
        retried.patients
    );
    let second = app.delivered(lake).await?;
    ensure!(second.publications.len() == first.publications.len() + 1);
    ensure!(
        paths(&second, 0) == paths(&first, 0),
        "the first publication changed"
    );
    let mut once = second.all();
    once.dedup();
    ensure!(once == second.all(), "rows are there twice");
    app.verified().await?;
    // What was completed cannot be retried.
    let refusal = app.core.db.retry_export(retry).await;
    ensure!(refusal.is_err_and(|error| error.to_string().contains("delivered everything")));

    // Everything again, in a new epoch: the newest versions, once.
    let full = app.core.db.request_full_export(lake).await?;
    app.idle(LIMIT).await?;
    let full = app.core.db.export(full).await?;
    ensure!(full.state == RunState::Completed && full.full, "{full:?}");
    let third = app.delivered(lake).await?;
    let again = third.rows.last().expect("a publication");
    ensure!(*again == second.all(), "another {} rows", again.len());
    ensure!(third.publications.last().expect("one").epoch == 2);
    app.verified().await?;
    is_live_once(&folder(&app, lake).await?, again.len())?;
    app.down()
}

/// What the contract tells readers to do shows each row once, as sent last.
fn is_live_once(folder: &Path, rows: usize) -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with DuckDB");
        return Ok(());
    };
    let output = Command::new(python)
        .arg(repository().join("tests/it/export_retry.py"))
        .args([&repository().join("docs/contract.md"), folder])
        .output()
        .context("run Python")?;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        said.trim() == format!("{rows} {rows}"),
        "{said} of {rows} rows are live{complained}"
    );
    Ok(())
}

/// A day is a minute here: waiting begins at 42 ms and goes up to 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_everything_is_tried_at_most_fifteen_times_a_day() -> Result<()>
{
    let settings = [
        ("worker.back_off_first_ms", "42"),
        ("worker.back_off_max_ms", "15000"),
    ];
    let mut app = App::start(AppOptions::with(&settings)).await?;
    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let lake = app.destination("lake", FileFormat::Ndjson).await?;
    // Another destination's name on the folder: it refuses for good.
    let owner = folder(&app, lake).await?.join("_chartlift/owner.json");
    let ours = std::fs::read(&owner)?;
    let stranger = String::from_utf8_lossy(&ours)
        .replace(&lake.to_string(), &DestinationId::new().to_string());
    std::fs::write(&owner, stranger)?;
    let day = Instant::now() + Duration::from_secs(60);
    app.until(
        Duration::from_secs(70),
        "a day passes",
        async |_: &mut App| Ok(Instant::now() > day),
    )
    .await?;
    let runs = app.core.db.exports(Some(lake), None, 100).await?;
    ensure!((5..=15).contains(&runs.len()), "{} runs", runs.len());
    ensure!(
        runs.iter()
            .filter(|run| run.state == RunState::Failed)
            .count()
            >= runs.len() - 1
    );

    // Mended and asked for by hand, it is tried at once.
    std::fs::write(&owner, ours)?;
    app.core
        .db
        .request_export(lake, Some(Trigger::Manual))
        .await?;
    app.idle(LIMIT).await?;
    ensure!(!app.delivered(lake).await?.all().is_empty());
    app.verified().await?;
    app.down()
}

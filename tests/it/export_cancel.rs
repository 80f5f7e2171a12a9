//! An export is cancelled at each of its phases: it ends soon, what it was doing
//! does not count, and it stays so until somebody asks again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::RunKind;
use model::{DestinationId, ExportId, FileFormat, RunState, Trigger};

/// What a cancel may take, with live processes.
const END_MAX: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(90);

/// A settled patient, and the process ended: an export can be cancelled from its
/// first step on.
async fn settled(settings: &[(&str, &str)]) -> Result<App> {
    let mut app = App::start(AppOptions::with(settings)).await?;
    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.down()?;
    Ok(app)
}

/// The export of a destination, once its workflow has begun `step`.
async fn export_at(app: &mut App, id: DestinationId, step: &str) -> Result<ExportId> {
    let begun = format!("step started step=\"{step}\"");
    app.until(LIMIT, step, async |app: &mut App| {
        Ok(app.logged()?.contains(&begun))
    })
    .await?;
    Ok(app.core.db.exports(Some(id), None, 1).await?[0].id)
}

async fn cancel_and_wait(app: &mut App, export: ExportId) -> Result<RunState> {
    let asked = Instant::now();
    app.core
        .db
        .request_cancel(RunKind::Export, &export.to_string())
        .await?;
    app.until(END_MAX, "the export has ended", async |app: &mut App| {
        Ok(app.core.db.export(export).await?.state.is_final())
    })
    .await
    .with_context(|| format!("cancelled {:?} ago", asked.elapsed()))?;
    Ok(app.core.db.export(export).await?.state)
}

/// Cancels at `step`, made slow by a failpoint, and returns how the export ended
/// and what its destination then holds.
async fn cancelled_at(step: &str, failpoint: &str) -> Result<(RunState, usize, bool)> {
    let mut app = settled(&[("worker.part_size_target_bytes", "65536")]).await?;
    let lake = app.destination("lake", FileFormat::Parquet).await?;
    app.up(&[("FAILPOINTS", &format!("{failpoint}=return(wait 60000)"))])?;
    let export = export_at(&mut app, lake, step).await?;
    if step == "export.publish" {
        // It is at the failpoint once the run is in its last phase.
        app.until(LIMIT, "the export publishes", async |app: &mut App| {
            Ok(app.core.db.export(export).await?.phase == model::RunPhase::Committing)
        })
        .await?;
    }
    let state = cancel_and_wait(&mut app, export).await?;
    let delivered = app.delivered(lake).await?;
    let (burnt, rows) = (
        delivered.publications.iter().any(|of| of.burnt),
        delivered.all().len(),
    );
    app.verified().await?;

    // It stays cancelled: Dispatch passes many times and starts nothing.
    if state == RunState::Cancelled {
        let passes = Instant::now() + Duration::from_secs(3);
        app.until(
            Duration::from_secs(10),
            "time passes",
            async |_: &mut App| Ok(Instant::now() > passes),
        )
        .await?;
        let runs = app.core.db.exports(Some(lake), None, 10).await?.len();
        ensure!(runs == 1, "{runs} exports although it was cancelled");
    }
    app.node().kill()?;
    app.up(&[])?;
    // Whoever asks again gets everything, once.
    app.core
        .db
        .request_export(lake, Some(Trigger::Manual))
        .await?;
    app.idle(LIMIT).await?;
    app.verified().await?;
    let all = app.delivered(lake).await?.all();
    let mut once = all.clone();
    once.dedup();
    ensure!(!all.is_empty() && all == once, "rows are there twice");
    let connection = app.core.db.connections(None, 1).await?.remove(0);
    ensure!(
        app.core.db.watermarks(lake).await? == [(connection.id, connection.head_seq)],
        "the watermark is not at the head"
    );
    app.down()?;
    Ok((state, rows, burnt))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_cancelled_before_it_publishes_shows_nothing() -> Result<()> {
    let (plan, chunk) = tokio::join!(
        cancelled_at("export.plan", "export.plan.begin"),
        cancelled_at("export.chunk", "part_write.before")
    );
    for (step, (state, rows, burnt)) in [("plan", plan?), ("chunk", chunk?)] {
        ensure!(
            (state, rows, burnt) == (RunState::Cancelled, 0, false),
            "{step}: {state}, {rows} rows, burnt: {burnt}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_cancelled_while_it_publishes_is_burnt_or_completed() -> Result<()> {
    let (before, after) = tokio::join!(
        cancelled_at("export.publish", "publication.before"),
        cancelled_at("export.publish", "publication.after")
    );
    let (before, after) = (before?, after?);
    ensure!(
        before == (RunState::Cancelled, 0, true),
        "before its publication stands: {before:?}"
    );
    ensure!(
        after.0 == RunState::Completed && after.1 > 0 && !after.2,
        "when its publication stands: {after:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_export_ends_at_once_and_only_once() -> Result<()> {
    let mut app = settled(&[]).await?;
    let lake = app.destination("lake", FileFormat::Ndjson).await?;
    let export = app
        .core
        .db
        .request_export(lake, Some(Trigger::Manual))
        .await?;
    let id = export.to_string();
    app.core.db.request_cancel(RunKind::Export, &id).await?;
    ensure!(app.core.db.export(export).await?.state == RunState::Cancelled);
    let again = app.core.db.request_cancel(RunKind::Export, &id).await;
    let refusal = again.err().context("cancelled twice")?.to_string();
    ensure!(refusal.contains("is cancelled"), "{refusal}");
    ensure!(
        app.core
            .db
            .due_destinations(Duration::ZERO)
            .await?
            .is_empty(),
        "what was cancelled is due again"
    );
    // There is more of it: that is exported, with what was held.
    app.up(&[])?;
    app.sandbox.portal().put(
        r#"{"resourceType":"Observation","id":"dec-trailing","status":"amended","code":{"text":"SG"}}"#,
    );
    let connection = app.core.db.connections(None, 1).await?[0].id;
    app.pull(&[connection]).await?;
    app.idle(LIMIT).await?;
    app.verified().await?;
    ensure!(!app.delivered(lake).await?.all().is_empty());
    app.down()
}

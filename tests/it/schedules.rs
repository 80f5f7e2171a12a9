//! A connection is pulled by itself when its interval has passed, and asks then for
//! what has changed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::{ConnectionId, PullMode, RunState, Trigger};

use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(60);

/// Makes as if all pulls had been asked for two hours ago.
async fn two_hours_pass(app: &App) -> Result<()> {
    sqlx::any::install_default_drivers();
    let url = app.core.settings.database.url.expose();
    let pool = sqlx::AnyPool::connect(url).await?;
    sqlx::query("UPDATE connections SET last_pull_at = last_pull_at - 7200000000")
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

fn chartlift(app: &App, arguments: &[&str]) -> Result<()> {
    let output = app.chartlift(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(())
}

async fn pulls(app: &App, connection: ConnectionId) -> Result<usize> {
    Ok(app.core.db.pulls(Some(connection), None, 9).await?.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_pulled_when_its_interval_has_passed() -> Result<()> {
    let week = ("worker.full_pull_after_ms", "604800000");
    let mut app = App::start(AppOptions::with(&[week])).await?;
    let patients = small_patients(&app);
    let known = app.sandbox.patients();
    let dated = known.iter().find(|of| of.has_history);
    let dated = dated.context("a patient with a history")?;
    let names = [dated.id.as_str(), &patients[0], &patients[1]];
    let connections = app.connect(&names).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let [scheduled, never, paused] = connections[..] else {
        anyhow::bail!("three patients");
    };
    chartlift(&app, &["source", "schedule", "sandbox", "1h"])?;
    let id = never.to_string();
    chartlift(&app, &["connection", "schedule", &id, "never"])?;
    chartlift(&app, &["connection", "disable", &paused.to_string()])?;
    let refused = app.chartlift(&["source", "schedule", "sandbox", "1m"])?;
    ensure!(refused.status.code() == Some(2));
    two_hours_pass(&app).await?;
    app.until(LIMIT, "the schedule has pulled", async |app: &mut App| {
        Ok(pulls(app, scheduled).await? == 2)
    })
    .await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;

    let db = &app.core.db;
    let newest = db.pulls(Some(scheduled), None, 1).await?.remove(0);
    let pull = db.pull(newest.id).await?;
    ensure!(pull.triggers[0].reason == Trigger::Scheduled);
    ensure!(pull.state == RunState::Completed && pull.batch_seq.is_none());
    // What the sample does not date is asked for whole.
    let types = db.pull_types(pull.id).await?;
    let updated = types.iter().filter(|of| of.mode == Some(PullMode::Updated));
    ensure!(updated.count() >= 3, "{types:?}");
    let next = db.connection_summary(scheduled).await?.next_pull_at;
    ensure!(next.is_some_and(|next| next > model::Timestamp::now()));
    for other in [never, paused] {
        ensure!(pulls(&app, other).await? == 1);
        ensure!(db.connection_summary(other).await?.next_pull_at.is_none());
    }
    app.down()
}

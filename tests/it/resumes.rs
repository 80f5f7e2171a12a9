//! Stopped or failed at any point, it goes on by itself, and what it delivers is
//! the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, DeliveredRow};
use futures::StreamExt;
use model::FileFormat;

/// What a scenario delivers to its two destinations.
type Output = (Vec<DeliveredRow>, Vec<DeliveredRow>);

/// Deployments at work at once: mostly they wait for a heartbeat to time out.
const SIDE_BY_SIDE: usize = 4;

/// Pulls and delivers; with a failpoint, up to the point and, where that ends the
/// process, once more without.
async fn scenario(failpoint: Option<(&str, &str)>) -> Result<Output> {
    let settings = [
        // Several saves and several parts, so that every point is passed twice
        // and more.
        ("worker.staging_size_target_bytes", "65536"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.chunk_rows_target", "100"),
        ("worker.streams_per_pull", "2"),
        ("worker.chunk_save_ms", "0"),
    ];
    let mut app = App::prepare(AppOptions::with(&settings)).await?;
    let patients = crate::delivery_exact::small_patients(&app);
    let chosen = [
        patients[0].as_str(),
        "12345",
        patients[patients.len() - 2].as_str(),
    ];
    let connections = app.connect(&chosen).await?;
    let ndjson = app.destination("ndjson", FileFormat::NdjsonZstd).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    app.pull(&connections).await?;
    match failpoint {
        None => app.up(&[])?,
        Some((name, "abort")) => {
            // The second time it is passed: something was done before.
            app.up(&[("FAILPOINTS", &format!("{name}=1*off->1*return(abort)"))])?;
            let status = app
                .node()
                .wait(Duration::from_secs(60))
                .with_context(|| format!("reach {name}"))?;
            ensure!(!status.success(), "{name} did not abort");
            app.up(&[])?;
        }
        Some((name, action)) => app.up(&[("FAILPOINTS", &format!("{name}=2*return({action})"))])?,
    }
    app.idle(Duration::from_secs(150))
        .await
        .with_context(|| format!("{failpoint:?}"))?;
    app.all_completed().await?;
    app.verified().await?;
    let output = (
        app.delivered(ndjson).await?.all(),
        app.delivered(parquet).await?.all(),
    );
    app.down()?;
    Ok(output)
}

async fn at_every_failpoint(action: &'static str) -> Result<()> {
    let undisturbed = scenario(None).await?;
    ensure!(!undisturbed.0.is_empty() && undisturbed.0.len() == undisturbed.1.len());
    let ends: Vec<(&str, Result<Output>)> =
        futures::stream::iter(activities::failpoint::NAMES.iter().copied())
            .map(|name| async move { (name, scenario(Some((name, action))).await) })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
    for (name, end) in ends {
        let output = end.with_context(|| format!("{name} × {action}"))?;
        ensure!(
            output == undisturbed,
            "{name} × {action}: other rows than undisturbed"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_every_failpoint_the_output_is_equal() -> Result<()> {
    at_every_failpoint("abort").await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_at_every_failpoint_the_output_is_equal() -> Result<()> {
    at_every_failpoint("error").await
}

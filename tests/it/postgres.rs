//! With PostgreSQL several workers share the work, and one that is killed is missed
//! by nobody.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::testing::PostgresDatabase;
use model::{FileFormat, RunState};
use sandbox::Knobs;

use crate::delivery_exact::small_patients;

/// What a killed worker held is given to another when its heartbeat times out.
const LIMIT: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_on_one_server_go_on_where_a_killed_one_was() -> Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        return Ok(());
    };
    let url = database.url();
    let settings = [
        ("database.url", url.as_str()),
        ("worker.staging_size_target_bytes", "65536"),
        ("worker.part_size_target_bytes", "65536"),
        ("worker.chunk_rows_target", "100"),
        ("worker.chunk_save_ms", "0"),
    ];
    let mut app = App::prepare(AppOptions::with(&settings)).await?;
    let patients = small_patients(&app);
    let names: Vec<&str> = patients.iter().take(4).map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    app.sandbox.portal().set_knobs(Knobs {
        latency_ms: 40,
        ..Knobs::default()
    });
    app.work(&[])?;
    let mut second = app.further_worker("second", &[])?;
    let pulls = app.pull(&connections).await?;
    app.until(LIMIT, "something is staged", async |app: &mut App| {
        let mut staged = 0;
        for pull in &pulls {
            staged += app.core.db.staging(*pull).await?.len();
        }
        Ok(staged > 0)
    })
    .await?;
    second.kill()?;
    app.idle(LIMIT).await?;

    // Parts are written slowly, so that the kill falls among them.
    let slowly = [("FAILPOINTS", "part_write.after=return(wait 300)")];
    app.node().kill()?;
    app.work(&slowly)?;
    let mut third = app.further_worker("third", &slowly)?;
    let ndjson = app.destination("ndjson", FileFormat::NdjsonZstd).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    app.until(LIMIT, "both exports are at work", async |app: &mut App| {
        let exports = app.core.db.exports(None, None, 10).await?;
        let running = exports.iter().filter(|of| of.state == RunState::Running);
        Ok(running.count() == 2)
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    third.kill()?;
    app.idle(LIMIT).await?;

    app.all_completed().await?;
    app.verified().await?;
    let (lines, rows) = (
        app.delivered(ndjson).await?.all(),
        app.delivered(parquet).await?.all(),
    );
    let held: usize = names
        .iter()
        .map(|patient| app.sandbox.portal().expected(patient).len())
        .sum();
    ensure!(lines.len() >= held && lines.len() == rows.len());
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

//! However many workers pull from a source, together they keep to its rate.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::SourceChange;
use db::testing::PostgresDatabase;

use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(120);
const PER_SECOND: u32 = 30;
/// Requests that a window may have beyond the rate: they do not arrive as evenly as
/// they were sent.
const UNEVEN: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_keep_to_the_rate_of_a_source() -> Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        return Ok(());
    };
    let url = database.url();
    let mut app = App::prepare(AppOptions::with(&[("database.url", url.as_str())])).await?;
    let source = app.core.db.source("sandbox").await?.id;
    let change = SourceChange {
        requests_per_second: Some(Some(PER_SECOND)),
        ..SourceChange::default()
    };
    app.core.db.change_source(source, change).await?;
    let patients = small_patients(&app);
    let names: Vec<&str> = patients.iter().take(6).map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    app.pull(&connections).await?;
    app.work(&[])?;
    let second = app.further_worker("second", &[])?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;

    let mut times: Vec<i64> = app
        .sandbox
        .portal()
        .log()
        .iter()
        .map(|of| of.at_us)
        .collect();
    times.sort_unstable();
    let most = times
        .iter()
        .map(|from| {
            times
                .iter()
                .filter(|at| (*from..from + 1_000_000).contains(*at))
                .count()
        })
        .max()
        .unwrap_or_default();
    let seconds = (times[times.len() - 1] - times[0]) as f64 / 1e6;
    println!(
        "{} requests in {seconds:.1} s, at most {most} in one second, {PER_SECOND} allowed",
        times.len()
    );
    ensure!(
        times.len() > 3 * PER_SECOND as usize,
        "{} requests show nothing",
        times.len()
    );
    ensure!(
        most <= PER_SECOND as usize + UNEVEN,
        "{most} requests in one second"
    );
    for log in [app.log(), app.dir.path().join("second.log")] {
        let text = std::fs::read_to_string(&log)?;
        ensure!(
            text.contains("pull.pages"),
            "{} pulled nothing",
            log.display()
        );
    }
    second.stop()?;
    app.down()?;
    app.core.db.close().await;
    Ok(())
}

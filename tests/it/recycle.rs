//! A worker that has begun very many steps drains and is replaced, and nothing
//! shows it but the log.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::FileFormat;

use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_worn_out_worker_is_replaced_in_the_middle_of_its_work() -> Result<()> {
    let settings = [
        ("worker.recycle_after_steps", "12"),
        ("worker.staging_size_target_bytes", "65536"),
    ];
    let mut app = App::start(AppOptions::with(&settings)).await?;
    let patients = small_patients(&app);
    let names: Vec<&str> = patients.iter().take(4).map(String::as_str).collect();
    let connections = app.connect(&names).await?;
    let destination = app.destination("parquet", FileFormat::Parquet).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    app.verified().await?;
    let held: usize = patients
        .iter()
        .take(4)
        .map(|patient| app.sandbox.portal().expected(patient).len())
        .sum();
    ensure!(app.delivered(destination).await?.all().len() >= held);
    let replaced = app
        .logged()?
        .matches("the worker drains and is replaced")
        .count();
    // A worker looks at its count once a second: a quick one begins more than 12.
    ensure!(replaced >= 1, "it was never replaced");
    app.down()
}

//! A worker's memory does not grow with the size of a patient: at its highest it
//! stays below 300 MiB.
//!
//! `CHARTLIFT_PULLED_RESOURCES` makes the patient larger (`cargo xtask soak
//! memory`: 200,000).

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, generated_patient, number};
use model::FileFormat;
use sandbox::SandboxOptions;
use serde_json::json;

const PATIENT: &str = "generated";
const MEMORY_MAX_BYTES: u64 = 300 << 20;
const LIMIT: Duration = Duration::from_secs(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_large_patient_needs_no_large_worker() -> Result<()> {
    let count = number("CHARTLIFT_PULLED_RESOURCES", 20_000);
    let seed = number("CHARTLIFT_SEED", 1);
    let mut app = App::prepare(AppOptions {
        sandbox: SandboxOptions {
            page_size: 200,
            extra: generated_patient(PATIENT, count, seed),
            ..SandboxOptions::default()
        },
        ..AppOptions::default()
    })
    .await?;
    let connections = app.connect(&[PATIENT]).await?;

    app.work(&[])?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let (_, pulling) = app.node().memory_bytes()?;
    app.down()?;
    let pull = app.core.db.pulls(None, None, 1).await?.remove(0);
    ensure!(pull.counts.new == count, "{:?}", pull.counts);

    app.work(&[])?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    let ndjson = app.destination("ndjson", FileFormat::NdjsonZstd).await?;
    app.idle(LIMIT).await?;
    let (_, exporting) = app.node().memory_bytes()?;
    app.down()?;

    app.all_completed().await?;
    app.verified().await?;
    app.holds_what_was_served(0, &[parquet, ndjson]).await?;
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "FIGURES: {}",
        json!({
            "resources_pulled": count,
            "resources_exported": 2 * count,
            "peak_pulling_mib": mib(pulling),
            "peak_exporting_mib": mib(exporting),
        })
    );
    ensure!(
        pulling.max(exporting) < MEMORY_MAX_BYTES,
        "{} MiB in the pull, {} MiB in the exports",
        mib(pulling),
        mib(exporting)
    );
    Ok(())
}

//! What earlier versions wrote, this one opens: their data folders lie under
//! `tests/data/releases/`, one a day on which something was finished.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, repository};
use config::{LoadOptions, Settings};
use model::{AttachmentState, FileFormat};
use worker::{Core, OpenMode};

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Destinations lie at absolute places: a folder that was moved is put right in
/// its own database, as an operator would.
async fn relocate(database: &Path, files: &Path) -> Result<()> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", database.display())).await?;
    sqlx::query("UPDATE destinations SET location = $1 || '/' || name")
        .bind(files.display().to_string())
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_every_release_opens_and_verifies() -> Result<()> {
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("tests/data/releases"))? {
        let release = entry?.path();
        let dir = tempfile::tempdir()?;
        copy(&release, dir.path())?;
        let data = dir.path().join("data");
        relocate(&data.join("chartlift.db"), &dir.path().join("files")).await?;
        let overrides = vec![("data.dir".to_owned(), data.display().to_string())];
        let settings = Settings::load(LoadOptions {
            file: None,
            overrides,
            env: Vec::new(),
        })?;
        let core = Core::open(settings, OpenMode::Migrate)
            .await
            .with_context(|| release.display().to_string())?;
        let options = activities::verify::VerifyOptions { bodies: true };
        let report =
            activities::verify::verify(&core.db, &core.store, &core.destinations(), &options)
                .await?;
        ensure!(
            report.is_clean(),
            "{}: {:#?}",
            release.display(),
            report.findings
        );
        for connection in core.db.connections(None, 100).await? {
            ensure!(connection.head_seq > 0 && connection.external_id.is_some());
            // Sealed columns open with the release's key.
            core.db.connection(connection.id).await?;
        }
        core.db.close().await;
        count += 1;
    }
    ensure!(count > 0, "no release is kept");
    Ok(())
}

/// A document that is fetched by its URL.
const DOCUMENT: [&str; 2] = [
    r#"{"resourceType":"Binary","id":"doc-1","contentType":"text/plain","data":"QSBsZXR0ZXIu"}"#,
    r#"{"resourceType":"DocumentReference","id":"doc-1","status":"current","subject":{"reference":"Patient/12345"},"content":[{"attachment":{"contentType":"text/plain","url":"Binary/doc-1"}}]}"#,
];

/// `CHARTLIFT_RECORD=2026-11-23 cargo xtask test --filter release_is_recorded`
/// keeps today's folder; without the variable it only makes one.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_recorded() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let patients = crate::delivery_exact::small_patients(&app);
    let connections = app.connect(&[patients[0].as_str(), "12345"]).await?;
    for format in [FileFormat::NdjsonGzip, FileFormat::Parquet] {
        app.destination(format.as_str(), format).await?;
    }
    for resource in DOCUMENT {
        app.sandbox.portal().put(resource);
    }
    for _ in 0..2 {
        app.pull(&connections).await?;
        app.idle(Duration::from_secs(60)).await?;
        app.sandbox.portal().put(
            r#"{"resourceType":"Observation","id":"dec-trailing","status":"amended","code":{"text":"SG"},"valueQuantity":{"value":1.100}}"#,
        );
    }
    app.all_completed().await?;
    app.verified().await?;
    let (db, state) = (&app.core.db, Some(AttachmentState::Fetched));
    let fetched = db.attachments(connections[1], state, None, 10).await?;
    ensure!(fetched.len() == 1, "documents: {fetched:?}");
    app.down()?;
    app.core.db.close().await;
    if let Ok(day) = std::env::var("CHARTLIFT_RECORD")
        && day.starts_with("20")
    {
        let release = repository().join("tests/data/releases").join(day);
        copy(&app.core.settings.data.dir, &release.join("data"))?;
        copy(&app.dir.path().join("files"), &release.join("files"))?;
    }
    Ok(())
}

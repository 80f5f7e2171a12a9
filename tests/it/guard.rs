//! A source at an address that is not allowed is never asked, and its pulls end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::NewSource;
use model::RunState;
use std::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_from_a_refused_address_fails_for_good() -> Result<()> {
    let mut app = App::prepare(AppOptions {
        no_source: true,
        ..AppOptions::with(&[("guard.allow", "127.0.0.9")])
    })
    .await?;
    let (db, base_url) = (&app.core.db, app.sandbox.base_url().clone());
    let added = app.add_source("inside", &base_url, db::SourceLimits::default());
    let error = added.await.err().context("the address must be refused")?;
    ensure!(error.to_string().contains("guard.allow"), "{error}");

    // A name may lead elsewhere later than when the source was added.
    let new = NewSource::new("sandbox", base_url.as_str(), &source::identity(&base_url));
    db.add_source(&new).await?;
    let patient = app.sandbox.patients()[0].id.clone();
    let connections = app.connect(&[&patient]).await?;
    let pulls = app.pull(&connections).await?;
    app.up(&[])?;
    app.idle(LIMIT).await?;
    let pull = app.core.db.pull(pulls[0]).await?;
    ensure!(pull.state == RunState::Failed, "{pull:?}");
    ensure!(
        pull.error_code.as_deref() == Some("address_refused"),
        "{pull:?}"
    );
    ensure!(
        app.sandbox.portal().log().is_empty(),
        "the portal was asked"
    );

    let doctor = Command::new(chartlift_tests::binary())
        .arg("--data-dir")
        .arg(&app.core.settings.data.dir)
        .arg("doctor")
        .output()?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(text.contains("guard.allow"), "{text}");
    app.down()
}

//! Nothing is delivered twice, and nothing is exported for nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions};
use model::{FileFormat, Trigger};

use crate::delivery_exact::small_patients;

const LIMIT: Duration = Duration::from_secs(60);

#[expect(
    clippy::too_many_lines,
    reason = "one story: each part builds on the one before"
)]
#[tokio::test(flavor = "multi_thread")]
async fn only_changes_are_exported_and_each_once() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let patients = small_patients(&app);
    // A lone Patient, the edge cases, and the smallest history.
    let chosen = [
        patients[0].as_str(),
        "12345",
        patients[patients.len() - 2].as_str(),
    ];
    let connections = app.connect(&chosen).await?;
    let early = app.destination("early", FileFormat::Parquet).await?;
    let asleep = app.destination("asleep", FileFormat::NdjsonZstd).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    app.all_completed().await?;
    let first = app.delivered(early).await?;
    let (rows, exports) = (
        first.all(),
        app.core.db.exports(None, None, 100).await?.len(),
    );
    ensure!(!rows.is_empty());

    // An unchanged pull writes no batch and triggers no export.
    let heads: Vec<u64> = app
        .core
        .db
        .connections(None, 10)
        .await?
        .iter()
        .map(|of| of.head_seq)
        .collect();
    let again = app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    for pull in again {
        let pull = app.core.db.pull(pull).await?;
        ensure!(
            pull.batch_seq.is_none() && pull.counts.new + pull.counts.changed == 0,
            "{:?}",
            pull.counts
        );
        ensure!(pull.triggers.iter().any(|of| of.reason == Trigger::Manual));
    }
    let heads_after: Vec<u64> = app
        .core
        .db
        .connections(None, 10)
        .await?
        .iter()
        .map(|of| of.head_seq)
        .collect();
    ensure!(heads == heads_after, "{heads:?} became {heads_after:?}");
    ensure!(
        app.core.db.exports(None, None, 100).await?.len() == exports,
        "an export without changes"
    );

    // One changed resource is exactly what the next export holds; the disabled
    // destination is left alone.
    app.core.db.set_destination_enabled(asleep, false).await?;
    app.sandbox.portal().put(
        r#"{"resourceType":"Observation","id":"dec-trailing","status":"amended","code":{"text":"SG"},"valueQuantity":{"value":1.100,"unit":"1"}}"#,
    );
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let second = app.delivered(early).await?;
    ensure!(second.publications.len() == first.publications.len() + 1);
    let changed = second.rows.last().expect("a publication");
    ensure!(
        changed.len() == 1 && changed[0].id == "dec-trailing" && changed[0].batch_seq == 2,
        "{changed:?}"
    );
    let before_sleep = app.delivered(asleep).await?.publications.len();

    // A new destination gets everything once, newest versions only.
    let late = app.destination("late", FileFormat::Parquet).await?;
    app.idle(LIMIT).await?;
    let everything = app.delivered(late).await?.all();
    ensure!(
        everything.len() == rows.len(),
        "{} rows, {} resources",
        everything.len(),
        rows.len()
    );
    let of_changed: Vec<_> = everything
        .iter()
        .filter(|row| row.id == "dec-trailing")
        .collect();
    ensure!(of_changed.len() == 1 && of_changed[0].content_hash == changed[0].content_hash);
    let export = app.core.db.exports(Some(late), None, 1).await?.remove(0);
    let triggers = app.core.db.export(export.id).await?.triggers;
    ensure!(
        triggers
            .iter()
            .any(|of| of.reason == Trigger::DestinationAdded),
        "{triggers:?}"
    );

    // A reactivated one catches up from where it was.
    app.core.db.set_destination_enabled(asleep, true).await?;
    app.idle(LIMIT).await?;
    let caught_up = app.delivered(asleep).await?;
    ensure!(caught_up.publications.len() == before_sleep + 1);
    let news = caught_up.rows.last().expect("a publication");
    ensure!(news.len() == 1 && news[0].id == "dec-trailing", "{news:?}");
    let export = app.core.db.exports(Some(asleep), None, 1).await?.remove(0);
    let triggers = app.core.db.export(export.id).await?.triggers;
    ensure!(
        triggers.iter().any(|of| of.reason == Trigger::Reactivated),
        "{triggers:?}"
    );
    ensure!(
        export.counts.delivered == 1 && export.patients == 1,
        "{export:?}"
    );

    app.all_completed().await?;
    app.verified().await?;
    app.down()
}

//! Very many deletions at once wait for a decision.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use futures::TryStreamExt;
use model::{FileFormat, HeldState, PullId, RunState};

use super::{LIMIT, hidden, observation, portal, pulled, tombstones};

fn says(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_at_once_wait_for_a_decision() -> Result<()> {
    let mut app = App::start(AppOptions {
        sandbox: portal(),
        ..AppOptions::default()
    })
    .await?;
    let connections = app.connect(&["first"]).await?;
    let parquet = app.destination("parquet", FileFormat::Parquet).await?;
    pulled(&mut app, &connections).await?;

    // 12 of 20 conditions are absent: none is read, and the rest settles.
    let names: Vec<String> = (0..12).map(|n| format!("Condition/c-{n:02}")).collect();
    let absent: Vec<(&str, u16)> = names.iter().map(|name| (name.as_str(), 404)).collect();
    app.sandbox.portal().set_knobs(hidden(&absent));
    app.sandbox
        .portal()
        .put(&observation("first", "o-07", "shared", 2));
    let first = pulled(&mut app, &connections).await?[0];
    let pull = app.core.db.pull(first).await?;
    ensure!(
        pull.state == RunState::Partial && pull.error_code.as_deref() == Some("deletes_held"),
        "{pull:?}"
    );
    ensure!(pull.counts.changed == 1 && pull.counts.deleted == 0);
    let read = app.sandbox.portal().log();
    ensure!(
        !read
            .iter()
            .any(|entry| entry.path.contains("/Condition/c-")),
        "a held resource was read"
    );
    let waiting = app.core.db.waiting_deletes().await?;
    ensure!(waiting.len() == 1 && waiting[0].pull_id == first);
    ensure!(waiting[0].types == BTreeMap::from([("Condition".to_owned(), 12)]));

    // Discarded, they are forgotten; the next pull looks again, and the one after
    // it replaces what that one held.
    let output = app.chartlift(&["pull", "discard", &first.to_string()])?;
    ensure!(output.status.success(), "{}", says(&output));
    let output = app.chartlift(&["pull", "accept", &first.to_string()])?;
    ensure!(
        !output.status.success() && says(&output).contains("discarded already"),
        "{}",
        says(&output)
    );
    let second = pulled(&mut app, &connections).await?[0];
    let third = pulled(&mut app, &connections).await?[0];
    let replaced = app.core.db.held_deletes(second).await?.context("no hold")?;
    ensure!(replaced.state == HeldState::Replaced, "{replaced:?}");
    let output = app.chartlift(&["pull", "held"])?;
    ensure!(
        says(&output).contains(&third.to_string()) && !says(&output).contains(&second.to_string()),
        "{}",
        says(&output)
    );

    // Accepted, they are settled by a pull that asks the source nothing.
    let asked = app.sandbox.portal().log().len();
    let output = app.chartlift(&["pull", "accept", &third.to_string(), "--wait"])?;
    ensure!(output.status.success(), "{}", says(&output));
    ensure!(app.sandbox.portal().log().len() == asked);
    let accepting: PullId = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    app.idle(LIMIT).await?;
    app.verified().await?;
    let found = tombstones(&app, connections[0], accepting).await?;
    ensure!(found.keys().eq(names.iter()), "{found:?}");
    let output = app.chartlift(&["pull", "accept", &third.to_string()])?;
    ensure!(
        !output.status.success() && says(&output).contains("accepted already"),
        "{}",
        says(&output)
    );
    let delivered = app.delivered(parquet).await?;
    let gone = delivered.rows.last().context("no publication")?;
    ensure!(
        gone.iter()
            .filter(|row| row.content_hash.is_empty())
            .count()
            == 12
    );

    // What was decided leaves no object behind, and the next pull finds nothing.
    let held = format!("connections/{}/held", connections[0]);
    let left: Vec<_> = app.core.store.list(&held).try_collect().await?;
    ensure!(left.is_empty(), "{left:?}");
    let last = pulled(&mut app, &connections).await?[0];
    let last = app.core.db.pull(last).await?;
    ensure!(
        last.state == RunState::Completed && last.batch_seq.is_none(),
        "{last:?}"
    );
    app.down()
}

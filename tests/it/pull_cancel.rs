//! A pull is cancelled at each of its phases: it ends soon, what it had fetched
//! does not count, and a retry gets it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use db::RunKind;
use futures::TryStreamExt;
use model::{PullId, RunPhase, RunState, Trigger};
use sandbox::Knobs;
use steps::PatientPull;
use temporalio_client::{WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecutionStatus};

/// What a cancel may take, with live processes.
const END_MAX: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(90);

/// A pull that waits in `step`: for the portal, which never answers for `hangs`,
/// or at a failpoint.
async fn waiting(step: &str, hangs: &[&str], failpoints: &str) -> Result<(App, PullId)> {
    let mut app = App::prepare(AppOptions::default()).await?;
    app.sandbox.portal().set_knobs(Knobs {
        hang: hangs.iter().map(|name| (*name).to_owned()).collect(),
        ..Knobs::default()
    });
    app.up(&[("FAILPOINTS", failpoints)])?;
    // The smallest history that refers to practitioners.
    let patients = crate::delivery_exact::small_patients(&app);
    let connections = app
        .connect(&[patients[patients.len() - 2].as_str()])
        .await?;
    let pull = app.pull(&connections).await?[0];
    let begun = format!("step started step=\"{step}\"");
    app.until(LIMIT, step, async |app: &mut App| {
        let phase = app.core.db.pull(pull).await?.phase;
        let is_there = step != "pull.settle" || phase == RunPhase::Committing;
        Ok(is_there && app.logged()?.contains(&begun))
    })
    .await?;
    Ok((app, pull))
}

async fn cancelled_in(step: &str, hangs: &[&str], failpoints: &str) -> Result<()> {
    let (mut app, pull) = waiting(step, hangs, failpoints).await?;
    let connection = app.core.db.pull(pull).await?.connection_id;
    let asked = Instant::now();
    let id = pull.to_string();
    app.core.db.request_cancel(RunKind::Pull, &id).await?;
    app.until(END_MAX, "the pull has ended", async |app: &mut App| {
        Ok(app.core.db.pull(pull).await?.state.is_final())
    })
    .await
    .with_context(|| format!("cancelled {:?} ago", asked.elapsed()))?;
    let ended = app.core.db.pull(pull).await?;
    ensure!(ended.state == RunState::Cancelled, "{ended:?}");
    ensure!(
        app.core.db.log_head(connection).await?.head_seq == 0 && ended.batch_seq.is_none(),
        "a cancelled pull settled"
    );
    ensure!(
        app.core
            .db
            .request_cancel(RunKind::Pull, &id)
            .await
            .is_err(),
        "it was cancelled twice"
    );
    // The row ends first; what was staged goes with it.
    app.until(LIMIT, "staging is gone", async |app: &mut App| {
        let staging = format!("connections/{connection}/staging");
        let left: Vec<_> = app.core.store.list(&staging).try_collect().await?;
        Ok(left.is_empty())
    })
    .await?;
    app.verified().await?;

    app.sandbox.portal().set_knobs(Knobs::default());
    app.node().kill()?;
    app.up(&[])?;
    let retry = app.core.db.retry_pull(pull).await?;
    app.idle(LIMIT).await?;
    let retried = app.core.db.pull(retry).await?;
    ensure!(
        retried.state == RunState::Completed && retried.retry_of == Some(pull),
        "{retried:?}"
    );
    ensure!(
        retried
            .triggers
            .iter()
            .any(|of| of.reason == Trigger::Retry)
    );
    app.verified().await?;
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_cancelled_while_it_fetches_leaves_nothing() -> Result<()> {
    let wait = "staging_write.after=return(wait 60000)";
    let (pages, references) = tokio::join!(
        cancelled_in("pull.pages", &["Observation"], wait),
        cancelled_in("pull.references", &["Practitioner"], ""),
    );
    pages.context("in its pages")?;
    references.context("in its references")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_cancelled_while_it_settles_leaves_nothing() -> Result<()> {
    let wait = "settle_commit.before=return(wait 60000)";
    cancelled_in("pull.settle", &[], wait).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_comes_too_late_ends_no_other_pull() -> Result<()> {
    let (mut app, pull) = waiting("pull.pages", &["Observation"], "").await?;
    let connection = app.core.db.pull(pull).await?.connection_id;
    // As if the run before had ended in the moment in which its workflow was told.
    let reason = steps::cancel_reason(&PullId::new().to_string());
    let client = app.temporal.client().await?;
    let workflow = client.get_workflow_handle::<PatientPull>(PatientPull::id(connection));
    workflow
        .cancel(WorkflowCancelOptions::builder().reason(reason).build())
        .await?;
    app.until(LIMIT, "the workflow has ended", async |_: &mut App| {
        let now = workflow
            .describe(WorkflowDescribeOptions::default())
            .await?;
        Ok(now.status() == WorkflowExecutionStatus::Canceled)
    })
    .await?;
    app.sandbox.portal().set_knobs(Knobs::default());
    app.idle(LIMIT).await?;
    let ended = app.core.db.pull(pull).await?;
    ensure!(ended.state == RunState::Completed, "{ended:?}");
    app.verified().await?;
    app.down()
}

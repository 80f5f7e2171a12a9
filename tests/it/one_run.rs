//! One run a connection and a destination, one queued behind it, whatever happens
//! to the workflows: Dispatch puts it right within a minute.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use model::{ConnectionId, DestinationId, FileFormat, RunState, Trigger};
use sandbox::{Knobs, SandboxOptions};
use steps::{DestinationExport, PatientPull};
use temporalio_client::WorkflowTerminateOptions;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::workflowservice::v1::ResetWorkflowExecutionRequest;

const PUT_RIGHT: Duration = Duration::from_secs(60);
const TRIGGERS: usize = 100;
/// The first workflow task's end: a workflow that is reset there begins again.
const FIRST_TASK: i64 = 4;

struct Scene {
    app: App,
    connection: ConnectionId,
    destination: DestinationId,
}

impl Scene {
    /// A patient and a destination, and nothing running yet.
    async fn new() -> Result<Self> {
        let app = App::prepare(AppOptions {
            sandbox: SandboxOptions::default(),
            ..AppOptions::default()
        })
        .await?;
        app.sandbox.portal().set_knobs(Knobs {
            latency_ms: 300,
            ..Knobs::default()
        });
        let patients = crate::delivery_exact::small_patients(&app);
        let connection = app.connect(&[&patients[patients.len() - 1]]).await?[0];
        let destination = app.destination("lake", FileFormat::Parquet).await?;
        Ok(Self {
            app,
            connection,
            destination,
        })
    }

    /// Starts the worker and asks for a pull.
    async fn begin(&mut self) -> Result<()> {
        self.app
            .work(&[("FAILPOINTS", "publication.before=return(wait 4000)")])?;
        self.app.pull(&[self.connection]).await?;
        Ok(())
    }

    async fn runs(&mut self, step: &str) -> Result<()> {
        let what = format!("{step} runs");
        self.app
            .until(PUT_RIGHT, &what, async |app: &mut App| {
                for node in app.nodes() {
                    if node.step_log().running()?.iter().any(|of| of.step == step) {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
            .await
    }

    /// Within the minute all is done, and delivered once.
    async fn is_put_right(&mut self) -> Result<()> {
        let started = Instant::now();
        self.app.idle(PUT_RIGHT).await?;
        println!("put right after {:.1} s", started.elapsed().as_secs_f64());
        self.app.verified().await?;
        self.app
            .holds_what_was_served(0, &[self.destination])
            .await?;
        self.app.down()
    }
}

async fn triggered_often() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.app.work(&[])?;
    let db = &scene.app.core.db;
    let (connection, destination) = (scene.connection, scene.destination);
    let asked = (0..TRIGGERS).map(async |_| {
        let pull = db.request_pull(connection, Trigger::Manual).await?;
        let export = db
            .request_export(destination, Some(Trigger::Manual))
            .await?;
        anyhow::Ok((pull.to_string(), export.to_string()))
    });
    let asked: Vec<(String, String)> = futures::future::try_join_all(asked).await?;
    let pulls: BTreeSet<&String> = asked.iter().map(|(pull, _)| pull).collect();
    ensure!(pulls.len() <= 2, "{} pulls were asked for", pulls.len());
    scene
        .app
        .until(PUT_RIGHT, "all runs have ended", async |app: &mut App| {
            let pulls = app.core.db.pulls(None, None, 200).await?;
            let exports = app.core.db.exports(None, None, 200).await?;
            for state in [RunState::Running, RunState::Queued] {
                let pulls = pulls.iter().filter(|of| of.state == state).count();
                let exports = exports.iter().filter(|of| of.state == state).count();
                ensure!(
                    pulls <= 1 && exports <= 1,
                    "{pulls} and {exports} are {state}"
                );
            }
            app.is_idle().await
        })
        .await?;
    scene.app.all_completed().await?;
    scene.is_put_right().await
}

/// The row is written and the process gone before it could start a workflow.
async fn killed_before_the_start() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.app.work(&[])?;
    for node in scene.app.nodes() {
        node.kill()?;
    }
    scene.app.pull(&[scene.connection]).await?;
    scene.app.work(&[])?;
    scene.is_put_right().await
}

async fn terminated() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.begin().await?;
    let client = scene.app.temporal.client().await?;
    scene.runs("pull.pages").await?;
    client
        .get_workflow_handle::<PatientPull>(PatientPull::id(scene.connection))
        .terminate(WorkflowTerminateOptions::default())
        .await?;
    scene
        .runs("export.publish")
        .await
        .context("after the pull")?;
    client
        .get_workflow_handle::<DestinationExport>(DestinationExport::id(scene.destination))
        .terminate(WorkflowTerminateOptions::default())
        .await?;
    scene.is_put_right().await
}

async fn reset() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.begin().await?;
    scene.runs("pull.pages").await?;
    reset_workflow(&scene.app, PatientPull::id(scene.connection)).await?;
    scene
        .runs("export.publish")
        .await
        .context("after the pull")?;
    reset_workflow(&scene.app, DestinationExport::id(scene.destination)).await?;
    scene.is_put_right().await
}

/// As the button in the Temporal UI does.
async fn reset_workflow(app: &App, workflow_id: String) -> Result<()> {
    let request = ResetWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        request_id: workflow_id.clone(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id,
            run_id: String::new(),
        }),
        reason: "a test".to_owned(),
        workflow_task_finish_event_id: FIRST_TASK,
        ..Default::default()
    };
    let mut connection = app.temporal.client().await?.connection().clone();
    connection
        .reset_workflow_execution(request.into_request())
        .await?;
    Ok(())
}

async fn server_file_lost() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.begin().await?;
    scene.runs("pull.pages").await?;
    scene.app.temporal.kill()?;
    scene.app.temporal.forget()?;
    scene.app.temporal.restart().await?;
    scene.is_put_right().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_whatever_happens_to_its_workflow() -> Result<()> {
    let scenarios: [(&str, LocalBoxFuture<'_, Result<()>>); 5] = [
        ("triggered often", Box::pin(triggered_often())),
        (
            "killed before the start",
            Box::pin(killed_before_the_start()),
        ),
        ("terminated", Box::pin(terminated())),
        ("reset", Box::pin(reset())),
        ("server's file lost", Box::pin(server_file_lost())),
    ];
    let ends: Vec<Result<()>> = futures::stream::iter(scenarios)
        .map(async |(name, scenario)| scenario.await.context(name))
        .buffer_unordered(3)
        .collect()
        .await;
    let failed: Vec<String> = ends
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

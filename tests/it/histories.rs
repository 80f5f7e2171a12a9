//! Recorded histories replay: a change of the workflows that running ones would
//! stumble over fails here. And budgets that are spent change nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, chain, repository};
use model::FileFormat;
use steps::{DestinationExport, PatientPull};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

const LIMIT: Duration = Duration::from_secs(120);

fn recorded() -> PathBuf {
    repository().join("tests/data/histories")
}

pub(crate) async fn replay(name: &str, json: &[u8]) -> Result<()> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<workflows::PatientPull>()?
        .register_workflow::<workflows::DestinationExport>()?
        .register_workflow::<workflows::Maintain>()?
        .register_workflow::<workflows::Probe>()?
        .build();
    let replayer = WorkflowReplayer::new(options)?;
    replayer
        .replay_workflow(WorkflowHistory::from_json(json)?)
        .await
        .with_context(|| format!("replay {name}"))?;
    Ok(())
}

/// Keeps a history of a workflow.
pub(crate) fn record(workflow: &str, number: usize, json: &[u8]) -> Result<()> {
    std::fs::create_dir_all(recorded())?;
    std::fs::write(recorded().join(format!("{workflow}.{number}.json")), json)?;
    Ok(())
}

/// To record anew after a deliberate change:
/// `CHARTLIFT_RECORD=1 cargo xtask test --filter histories`.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_histories_of_all_workflows_replay() -> Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(recorded())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        replay(&name, &std::fs::read(&path)?).await?;
        names.push(name);
    }
    for workflow in ["PatientPull", "DestinationExport", "Maintain", "Probe"] {
        ensure!(
            names.iter().any(|name| name.starts_with(workflow)),
            "no history of {workflow} in {names:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spent_budgets_continue_as_new_with_the_same_result() -> Result<()> {
    let patients = ["12345"];
    let mut plain = App::start(AppOptions::default()).await?;
    let lone = crate::delivery_exact::small_patients(&plain)[..5].to_vec();
    let all: Vec<&str> = patients
        .iter()
        .copied()
        .chain(lone.iter().map(String::as_str))
        .collect();
    let budgets = [
        ("worker.pages_per_run", "2"),
        ("worker.chunks_per_run", "2"),
        ("worker.chunk_rows_target", "1"),
    ];
    let settings = budgets
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let mut tight = App::start(AppOptions {
        settings,
        ..AppOptions::default()
    })
    .await?;
    let mut outputs = Vec::new();
    for app in [&mut plain, &mut tight] {
        let connections = app.connect(&all).await?;
        app.pull(&connections).await?;
        app.idle(LIMIT).await?;
        // Added when all pulls have settled: one export has everything to deliver.
        let destination = app.destination("parquet", FileFormat::Parquet).await?;
        app.idle(LIMIT).await?;
        app.all_completed().await?;
        app.verified().await?;
        outputs.push((
            connections[0],
            destination,
            app.delivered(destination).await?.all(),
        ));
    }
    ensure!(
        outputs[0].2 == outputs[1].2,
        "other rows with small budgets"
    );
    let client = worker::connect(&tight.temporal.address(), "default").await?;
    let pulls = chain::<PatientPull>(&client, &PatientPull::id(outputs[1].0)).await?;
    let exports = chain::<DestinationExport>(&client, &DestinationExport::id(outputs[1].1)).await?;
    ensure!(pulls.len() >= 3, "{} runs of a pull", pulls.len());
    ensure!(exports.len() >= 3, "{} runs of an export", exports.len());
    for (name, histories) in [("PatientPull", &pulls), ("DestinationExport", &exports)] {
        for (number, json) in histories.iter().rev().enumerate() {
            replay(name, json).await?;
            if std::env::var_os("CHARTLIFT_RECORD").is_some() && number < 3 {
                record(name, number, json)?;
            }
        }
    }
    plain.down()?;
    tight.down()
}

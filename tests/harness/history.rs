//! Workflow histories, as Temporal keeps them.

use anyhow::Result;
use serde_json::Value;
use temporalio_client::{Client, WorkflowExecutionInfo, WorkflowFetchHistoryOptions, WorkflowHandle};
use temporalio_common::HasWorkflowDefinition;

/// The histories of all runs of a workflow's chain, newest first, as JSON.
pub async fn chain<W: HasWorkflowDefinition>(client: &Client, workflow_id: &str) -> Result<Vec<Vec<u8>>> {
    let mut histories = Vec::new();
    let mut run_id: Option<String> = None;
    loop {
        let info = WorkflowExecutionInfo::builder()
            .namespace("default".to_owned())
            .workflow_id(workflow_id.to_owned())
            .maybe_run_id(run_id.take())
            .build();
        let handle = WorkflowHandle::<_, W>::new(client.clone(), info);
        let json = handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await?;
        run_id = continued_from(&serde_json::from_slice(&json)?);
        histories.push(json);
        if run_id.is_none() {
            return Ok(histories);
        }
    }
}

/// The run that a run continues, by its first event.
fn continued_from(history: &Value) -> Option<String> {
    let started = &history["events"][0]["workflowExecutionStartedEventAttributes"];
    let id = started["continuedExecutionRunId"].as_str()?;
    (!id.is_empty()).then(|| id.to_owned())
}

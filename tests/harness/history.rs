//! Workflow histories, as Temporal keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use model::Timestamp;
use serde_json::Value;
use temporalio_client::{
    Client, WorkflowExecutionInfo, WorkflowFetchHistoryOptions, WorkflowHandle,
};
use temporalio_common::HasWorkflowDefinition;

/// The histories of all runs of a workflow's chain, newest first, as JSON.
pub async fn chain<W: HasWorkflowDefinition>(
    client: &Client,
    workflow_id: &str,
) -> Result<Vec<Vec<u8>>> {
    let mut histories = Vec::new();
    let mut run_id: Option<String> = None;
    loop {
        let info = WorkflowExecutionInfo::builder()
            .namespace("default".to_owned())
            .workflow_id(workflow_id.to_owned())
            .maybe_run_id(run_id.take())
            .build();
        let handle = WorkflowHandle::<_, W>::new(client.clone(), info);
        let json = handle
            .fetch_history(WorkflowFetchHistoryOptions::default())
            .to_json()
            .await?;
        run_id = continued_from(&serde_json::from_slice(&json)?);
        histories.push(json);
        if run_id.is_none() {
            return Ok(histories);
        }
    }
}

/// The run that a run continues, by its first event.
fn continued_from(history: &Value) -> Option<String> {
    let id = member(&history["events"][0], "continuedExecutionRunId")?.as_str()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// The first member of this name, however deep, in camel or snake case.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.iter().find_map(|(key, inner)| {
            let same = key.replace('_', "").eq_ignore_ascii_case(name);
            if same {
                Some(inner)
            } else {
                member(inner, name)
            }
        }),
        Value::Array(items) => items.iter().find_map(|item| member(item, name)),
        _ => None,
    }
}

/// A step of a history that a worker has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunStep {
    /// The activity's type: `pull.pages`.
    pub step: String,
    /// When the workflow asked for it.
    pub scheduled: Timestamp,
    /// When its last attempt began.
    pub started: Timestamp,
    /// When that ended; none: it runs.
    pub ended: Option<Timestamp>,
    /// The number of that attempt, from 1.
    pub attempt: u64,
}

/// The steps of a history, in the order in which they began.
pub fn begun_steps(json: &[u8]) -> Result<Vec<BegunStep>> {
    let history: Value = serde_json::from_slice(json)?;
    let events = history["events"].as_array().context("no events")?;
    let (mut scheduled, mut steps) = (BTreeMap::new(), Vec::<BegunStep>::new());
    let mut places = BTreeMap::new();
    for event in events {
        let at: Timestamp = event["event_time"]
            .as_str()
            .and_then(model::fhir_instant)
            .context("an event without a time")?;
        let attributes = event["attributes"].as_object().into_iter().flatten();
        for (kind, of) in attributes {
            let number = of["scheduled_event_id"].as_u64();
            match kind.as_str() {
                "ActivityTaskScheduledEventAttributes" => {
                    let name = of["activity_type"]["name"].as_str().unwrap_or_default();
                    scheduled.insert(event["event_id"].as_u64(), (name.to_owned(), at));
                }
                "ActivityTaskStartedEventAttributes" => {
                    let (step, since) = scheduled.remove(&number).context("never scheduled")?;
                    places.insert(number, steps.len());
                    steps.push(BegunStep {
                        step,
                        scheduled: since,
                        started: at,
                        ended: None,
                        attempt: of["attempt"].as_u64().unwrap_or(1),
                    });
                }
                "ActivityTaskCompletedEventAttributes"
                | "ActivityTaskFailedEventAttributes"
                | "ActivityTaskTimedOutEventAttributes"
                | "ActivityTaskCanceledEventAttributes" => {
                    if let Some(place) = places.get(&number) {
                        steps[*place].ended = Some(at);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(steps)
}

/// How long each activity of a history waited between being scheduled and its
/// first attempt. One that was tried again is left out: its history says only when
/// the last attempt began.
pub fn slot_waits(json: &[u8]) -> Result<Vec<(String, Duration)>> {
    let steps = begun_steps(json)?.into_iter();
    let first = steps.filter(|step| step.attempt == 1);
    Ok(first
        .map(|step| (step.step, step.started.since(step.scheduled)))
        .collect())
}

/// Everything a history says, payloads decoded: what somebody who reads it would
/// see.
pub fn readable(json: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    read_into(&serde_json::from_slice(json)?, &mut text);
    Ok(text)
}

fn read_into(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::String(word) => {
            text.extend_from_slice(word.as_bytes());
            text.push(b'\n');
            if let Ok(bytes) = data_encoding::BASE64.decode(word.as_bytes()) {
                text.extend_from_slice(&bytes);
                text.push(b'\n');
            }
        }
        Value::Array(items) => {
            // Bytes may be written as numbers.
            let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
            match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => text.extend_from_slice(&bytes),
                None => items.iter().for_each(|item| read_into(item, text)),
            }
        }
        Value::Object(members) => {
            for (key, inner) in members {
                text.extend_from_slice(key.as_bytes());
                text.push(b'\n');
                read_into(inner, text);
            }
        }
        _ => {}
    }
}

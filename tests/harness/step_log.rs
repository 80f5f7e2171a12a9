//! What a worker's log (JSON) says of its steps: which have started, and which
//! of them have ended. A start without an end is what a kill cut off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

/// A step that a worker has started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartedStep {
    /// The activity's type: `pull.pages`.
    pub step: String,
    /// The workflow's id: `pull/con_…`.
    pub workflow: String,
    /// The activity's id within its workflow.
    pub activity: String,
    /// The attempt's number, from 1.
    pub attempt: u64,
}

/// How a step ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepEnd {
    /// `done`, `failed` or `cancelled`; `None` while it runs.
    pub outcome: Option<String>,
    /// Whether a save was refused, since another attempt holds the step.
    pub cut_off: bool,
}

/// The log of one process.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Line {
    message: String,
    step: String,
    #[serde(default)]
    workflow: String,
    #[serde(default)]
    activity: String,
    attempt: u64,
    outcome: Option<String>,
}

impl StepLog {
    /// The log at a path; it may not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// All steps, with their ends.
    pub fn steps(&self) -> Result<BTreeMap<StartedStep, StepEnd>> {
        let mut steps: BTreeMap<StartedStep, StepEnd> = BTreeMap::new();
        let text = match std::fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(steps),
            Err(error) => return Err(error.into()),
        };
        // A line that is not whole, or not of a step, is passed over.
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        {
            let started = StartedStep {
                step: line.step,
                workflow: line.workflow,
                activity: line.activity,
                attempt: line.attempt,
            };
            match line.message.as_str() {
                "step started" => drop(steps.entry(started).or_default()),
                "step ended" => steps.entry(started).or_default().outcome = line.outcome,
                "step was cut off" => {
                    // This line does not say which activity of the workflow it was.
                    let of_same = |step: &StartedStep| {
                        step.step == started.step
                            && step.workflow == started.workflow
                            && step.attempt == started.attempt
                    };
                    for (_, end) in steps.iter_mut().filter(|(step, _)| of_same(step)) {
                        end.cut_off |= end.outcome.is_none();
                    }
                }
                _ => {}
            }
        }
        Ok(steps)
    }

    /// The steps that have started and not ended.
    pub fn running(&self) -> Result<Vec<StartedStep>> {
        let steps = self.steps()?.into_iter();
        Ok(steps
            .filter(|(_, end)| end.outcome.is_none())
            .map(|(step, _)| step)
            .collect())
    }
}

//! The step of `Probe`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use model::{ProbeId, RunState};
use serde::{Deserialize, Serialize};
use temporalio_common::ActivityError;
use temporalio_macros::activity_definitions;

/// What a `Probe` workflow begins with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeInput {
    /// The test or rehearsal to carry out.
    pub probe_id: ProbeId,
}

/// What a `Probe` workflow, and its step, did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReceipt {
    /// How the probe ended.
    pub outcome: RunState,
    /// Why it failed.
    #[serde(default)]
    pub error_code: Option<String>,
}

/// The signatures of a probe's activities.
#[derive(Debug)]
pub struct ProbeSteps;

pub use self::probe_steps::*;

#[activity_definitions]
impl ProbeSteps {
    /// Tests or rehearses a destination.
    #[activity(name = "probe.run")]
    pub fn run(_: ProbeInput) -> Result<ProbeReceipt, ActivityError> {
        unimplemented!()
    }
}

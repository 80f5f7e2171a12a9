//! The steps of `Maintain`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use model::{ConnectionId, DestinationId};
use serde::{Deserialize, Serialize};
use temporalio_common::ActivityError;
use temporalio_macros::activity_definitions;

/// What a `Maintain` workflow begins with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MaintainInput {}

/// What a `Maintain` workflow did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaintainReport {
    /// What was merged.
    pub merged: MergeReceipt,
    /// What was removed from the record store.
    pub records: SweepReceipt,
    /// What was removed from destinations.
    pub destinations: SweepReceipt,
    /// Rows of old runs that were forgotten.
    pub forgotten_rows: u64,
    /// The codes of steps that gave up; the next pass tries again.
    pub failures: Vec<String>,
}

/// Input of `maintain.merge`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeLogs {
    /// Go on behind this connection.
    pub after: Option<ConnectionId>,
}

/// Output of `maintain.merge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeReceipt {
    /// Logs merged.
    pub logs: u64,
    /// Batches they had.
    pub batches: u64,
    /// The size of these.
    pub bytes_before: u64,
    /// The size of what took their place.
    pub bytes_after: u64,
    /// Logs that could not be merged; they are as they were.
    pub failed: u64,
    /// More is to be done behind this connection.
    pub next: Option<ConnectionId>,
}

/// Input of `maintain.sweep_records`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LookThroughRecords {
    /// Go on behind this connection.
    pub after: Option<ConnectionId>,
}

/// Input of `maintain.sweep_destinations`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LookThroughDestinations {
    /// Go on behind this destination.
    pub after: Option<DestinationId>,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepReceipt {
    /// Connections or destinations looked through.
    pub looked_through: u64,
    /// Objects removed.
    pub removed: u64,
    /// Their size, as far as it was asked for.
    pub removed_bytes: u64,
    /// Objects that belong to nothing this database knows: left alone.
    pub unknown: u64,
    /// Connections or destinations that could not be looked through.
    pub failed: u64,
    /// More is to be done behind this connection.
    pub next_connection: Option<ConnectionId>,
    /// More is to be done behind this destination.
    pub next_destination: Option<DestinationId>,
}

/// Input of `maintain.retention`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ForgetDetails {}

/// Output of `maintain.retention`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForgetReceipt {
    /// Rows forgotten.
    pub rows: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// The signatures of the upkeep's activities.
#[derive(Debug)]
pub struct MaintainSteps;

pub use self::maintain_steps::*;

#[activity_definitions]
impl MaintainSteps {
    /// Merges logs of many batches.
    #[activity(name = "maintain.merge")]
    pub fn merge(_: MergeLogs) -> Result<MergeReceipt, ActivityError> {
        unimplemented!()
    }

    /// Removes from the record store what nobody names any more.
    #[activity(name = "maintain.sweep_records")]
    pub fn sweep_records(_: LookThroughRecords) -> Result<SweepReceipt, ActivityError> {
        unimplemented!()
    }

    /// Removes from destinations what cut-off exports left there.
    #[activity(name = "maintain.sweep_destinations")]
    pub fn sweep_destinations(_: LookThroughDestinations) -> Result<SweepReceipt, ActivityError> {
        unimplemented!()
    }

    /// Forgets the details of old runs.
    #[activity(name = "maintain.retention")]
    pub fn retention(_: ForgetDetails) -> Result<ForgetReceipt, ActivityError> {
        unimplemented!()
    }
}

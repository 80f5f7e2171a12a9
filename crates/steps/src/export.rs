//! The steps of `DestinationExport`.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use model::{DestinationId, ExportCounts, ExportId, RunState};
use serde::{Deserialize, Serialize};
use temporalio_common::ActivityError;
use temporalio_macros::activity_definitions;

/// What a `DestinationExport` workflow begins with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportInput {
    /// The destination to deliver to.
    pub destination_id: DestinationId,
    /// Chunks after which the workflow continues as new.
    pub chunks_per_run: u64,
    /// Chunks at work at once.
    pub lanes: u32,
    /// The first run of this chain; set when it continues as new.
    #[serde(default)]
    pub chain: Option<String>,
    /// Where the run before left off.
    #[serde(default)]
    pub resume: Option<ExportResume>,
    /// What the chain did so far.
    #[serde(default)]
    pub report: ExportReport,
}

/// Where a run left off when it continued as new.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportResume {
    /// The export at work.
    pub export_id: ExportId,
    /// Which plan of the export, from 0.
    pub ordinal: u64,
    /// The plan at work; none to plan anew.
    pub plan: Option<PlanReceipt>,
    /// The chunk to go on with.
    pub next_chunk: u64,
    /// Chunks of the plan that were delivered.
    #[serde(default)]
    pub delivered: u64,
    /// Whether a chunk failed.
    #[serde(default)]
    pub failed: bool,
}

/// What a `DestinationExport` workflow did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportReport {
    /// Exports it carried out.
    pub exports: u64,
    /// How the last one ended.
    pub outcome: Option<RunState>,
    /// Publications made.
    pub publications: u64,
    /// What happened to the rows.
    pub counts: ExportCounts,
}

/// Input of `export.claim`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimExport {
    /// The destination.
    pub destination_id: DestinationId,
    /// The first run id of the workflow's chain.
    pub chain: String,
}

/// Output of `export.claim`: the export to carry out, if one is queued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimedExport {
    /// The export.
    pub export_id: Option<ExportId>,
}

/// Input of `export.plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanExport {
    /// The export.
    pub export_id: ExportId,
    /// Its destination.
    pub destination_id: DestinationId,
    /// Which plan of the export, from 0.
    pub ordinal: u64,
}

/// Output of `export.plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReceipt {
    /// The plan's id.
    pub plan_id: String,
    /// The publication it will become.
    pub number: u64,
    /// The number of its first chunk: chunks are numbered through the export.
    pub first_chunk: u64,
    /// Its chunks; 0: nothing is lacking.
    pub chunk_count: u64,
    /// Connections in it.
    pub connections: u64,
    /// Rows in its batches, at most.
    pub rows: u64,
    /// Whether more is lacking than one plan holds.
    #[serde(default)]
    pub more: bool,
}

/// Input of `export.chunk`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverChunk {
    /// The export.
    pub export_id: ExportId,
    /// Its destination.
    pub destination_id: DestinationId,
    /// Its plan.
    pub plan_id: String,
    /// The chunk.
    pub chunk: u64,
}

/// Output of `export.chunk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReceipt {
    /// What happened to its rows.
    pub counts: ExportCounts,
    /// Files written.
    pub parts: u64,
    /// Their size.
    pub size_bytes: u64,
}

/// Input of `export.publish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublishExport {
    /// The export.
    pub export_id: ExportId,
    /// Its destination.
    pub destination_id: DestinationId,
    /// Its plan.
    pub plan_id: String,
    /// Which plan of the export, from 0.
    pub ordinal: u64,
}

/// Output of `export.publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishReceipt {
    /// The publication that stands.
    pub number: u64,
    /// Whether it is ours; another's was adopted, and the export plans anew.
    pub ours: bool,
    /// What happened to the rows.
    pub counts: ExportCounts,
}

/// Input of `export.close`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloseExport {
    /// The export.
    pub export_id: ExportId,
    /// How it ends.
    pub state: RunState,
    /// Why, where it did not end well.
    #[serde(default)]
    pub code: Option<String>,
}

/// The signatures of the export's activities.
#[derive(Debug)]
pub struct ExportSteps;

pub use self::export_steps::*;

#[activity_definitions]
impl ExportSteps {
    /// Takes the queued export of a destination.
    #[activity(name = "export.claim")]
    pub fn claim(_: ClaimExport) -> Result<ClaimedExport, ActivityError> {
        unimplemented!()
    }

    /// Fixes what is to be delivered, and under which publication number.
    #[activity(name = "export.plan")]
    pub fn plan(_: PlanExport) -> Result<PlanReceipt, ActivityError> {
        unimplemented!()
    }

    /// Writes the parts of a chunk.
    #[activity(name = "export.chunk")]
    pub fn chunk(_: DeliverChunk) -> Result<ChunkReceipt, ActivityError> {
        unimplemented!()
    }

    /// Makes the parts visible, then advances the watermarks.
    #[activity(name = "export.publish")]
    pub fn publish(_: PublishExport) -> Result<PublishReceipt, ActivityError> {
        unimplemented!()
    }

    /// Ends an export.
    #[activity(name = "export.close")]
    pub fn close(_: CloseExport) -> Result<(), ActivityError> {
        unimplemented!()
    }
}

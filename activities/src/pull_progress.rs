//! The saved progress of a pull step: where each stream stands. It holds cursors
//! and the source's ids, so it is stored sealed and goes nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use model::{TypeOutcome, content_hash};
use serde::{Deserialize, Serialize};
use source::StreamPlan;
use steps::TypeProgress;

use crate::failure::Failure;

/// Where the streams of a step stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StepProgress {
    /// The streams, in order.
    pub(crate) streams: Vec<Stream>,
    /// Staging objects named so far.
    pub(crate) staging_count: u64,
}

/// One search, page by page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) plan: StreamPlan,
    /// The next page; none before the first.
    pub(crate) cursor: Option<String>,
    /// Hashes of the pages visited since the last start: a next link that leads
    /// back ends the stream.
    pub(crate) visited: BTreeSet<u64>,
    /// How often the stream began anew.
    pub(crate) restarts: u32,
    /// How often in a row the source asked to wait.
    pub(crate) waits: u32,
    /// How often in a row the source failed.
    #[serde(default)]
    pub(crate) failures: u32,
    pub(crate) suppressed: bool,
    pub(crate) line: Line,
}

/// The counts of a type, and how it ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) pages: u64,
    pub(crate) fetched: u64,
    pub(crate) ignored: u64,
    pub(crate) rejected: u64,
    pub(crate) outcome: Option<TypeOutcome>,
    pub(crate) error_code: Option<String>,
}

impl Stream {
    pub(crate) fn new(plan: StreamPlan) -> Self {
        Self {
            plan,
            cursor: None,
            visited: BTreeSet::new(),
            restarts: 0,
            waits: 0,
            failures: 0,
            suppressed: false,
            line: Line::default(),
        }
    }

    /// The line of its type, which says how it is asked for.
    pub(crate) fn progress(&self) -> TypeProgress {
        TypeProgress {
            plan_hash: Some(plan_hash(&self.plan)),
            ..self.line.progress(&self.plan.resource_type)
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.line.outcome.is_some()
    }

    pub(crate) fn end(&mut self, outcome: TypeOutcome, error_code: Option<&str>) {
        self.cursor = None;
        self.visited.clear();
        self.line.outcome = Some(outcome);
        self.line.error_code = error_code.map(str::to_owned);
    }

    pub(crate) fn restart(&mut self) {
        self.cursor = None;
        self.visited.clear();
        self.restarts += 1;
    }
}

impl Line {
    pub(crate) fn give_up(&mut self, code: &str) {
        self.outcome = Some(TypeOutcome::GaveUp);
        self.error_code = Some(code.to_owned());
    }

    pub(crate) fn progress(&self, resource_type: &str) -> TypeProgress {
        TypeProgress {
            resource_type: resource_type.to_owned(),
            pages: self.pages,
            fetched: self.fetched,
            ignored: self.ignored,
            rejected: self.rejected,
            outcome: self.outcome,
            error_code: self.error_code.clone(),
            plan_hash: None,
        }
    }
}

/// A hash of how a type is asked for. A plan names no patient.
fn plan_hash(plan: &StreamPlan) -> String {
    // A plan has no `meta`, so this is SHA-256, cut, over its JSON.
    content_hash(&encode(plan)).to_string()
}

/// The saved progress of the references step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReferenceProgress {
    /// The last reference read, in the order of (type, id).
    pub(crate) last: Option<(String, String)>,
    pub(crate) staging_count: u64,
    pub(crate) lines: BTreeMap<String, Line>,
    /// Whether all references were read, and absent resources are.
    pub(crate) references_read: bool,
    /// The types of which too much is absent to believe it, with the counts.
    pub(crate) held: Option<BTreeMap<String, u64>>,
    /// The last absent resource read, in the order of (type, id).
    pub(crate) absent_last: Option<(String, String)>,
    /// How often in a row the source asked to wait while these were read.
    pub(crate) waits: u32,
    /// How often in a row the source failed while references were read.
    pub(crate) failures: u32,
}

/// Decodes saved progress.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|_| Failure::last("progress", "the saved progress cannot be read"))
}

/// Encodes progress for saving.
pub(crate) fn encode<T: Serialize>(progress: &T) -> Vec<u8> {
    serde_json::to_vec(progress).expect("progress serialises")
}

//! The saved progress of a pull step: where each stream stands. It holds cursors
//! and the source's ids, so it is stored sealed and goes nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{RawResource, Timestamp, TypeNote, TypeOutcome, content_hash, is_masked};
use serde::{Deserialize, Serialize};
use source::{Access, StreamPlan};
use steps::TypeProgress;

use crate::failure::Failure;
use crate::pull_queries::Queries;
use crate::pull_sieve::Sieve;
use crate::pull_updates::Updates;
use crate::source_verdicts::Asked;

/// New starts of a stream whose cursor expired.
const RESTARTS_MAX: u32 = 3;
/// A cursor that has waited so long may have expired at the source, however that
/// says so: servers keep searches for some ten minutes.
const CURSOR_AGE_MAX: Duration = Duration::from_secs(600);
/// Pages are not made smaller than this.
const COUNT_MIN: u32 = 1;

/// Where the streams of a step stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StepProgress {
    /// The streams, in order.
    pub(crate) streams: Vec<Stream>,
    /// Staging objects named so far.
    pub(crate) staging_count: u64,
    /// The step before, whose types are not searched for where it had them whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
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
    /// Where it stands among the searches of its type.
    #[serde(default)]
    pub(crate) queries: Queries,
    /// `_count`, where it had to be made smaller.
    #[serde(default)]
    pub(crate) count: Option<u32>,
    /// When the cursor was given, by our clock.
    #[serde(default)]
    pub(crate) cursor_at: Option<Timestamp>,
    /// How often in a row the source did not answer in time.
    #[serde(default)]
    pub(crate) timeouts: u32,
    /// What is taken of it, where it gives all types at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sieve: Option<Sieve>,
    /// The strategy that is set for the source is known to be refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) strategy_refused: bool,
    /// Where it stands with the changes of its type.
    #[serde(default)]
    pub(crate) updates: Updates,
}

/// The counts of a type, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) pages: u64,
    pub(crate) fetched: u64,
    pub(crate) ignored: u64,
    pub(crate) rejected: u64,
    /// Of the rejected, how many for which reason, by its code.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Of the others, how many are masked copies.
    pub(crate) masked: u64,
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
            queries: Queries::default(),
            count: None,
            cursor_at: None,
            timeouts: 0,
            sieve: None,
            strategy_refused: false,
            updates: Updates::default(),
        }
    }

    /// The line of its type, which says how it is asked for.
    pub(crate) fn progress(&self) -> TypeProgress {
        let mut line = self.line.progress(&self.plan.resource_type);
        line.notes.splice(0..0, self.notes());
        if self.strategy_refused {
            let refused = TypeNote::counted(TypeNote::STRATEGY_REFUSED, 0);
            line.notes.push(refused);
        }
        TypeProgress {
            plan_hash: Some(plan_hash(&self.plan)),
            mode: Some(self.mode()),
            ..line
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.line.outcome.is_some()
    }

    pub(crate) fn end(&mut self, outcome: TypeOutcome, error_code: Option<&str>) {
        self.begin_search();
        self.line.outcome = Some(outcome);
        self.line.error_code = error_code.map(str::to_owned);
    }

    /// What the stream asks for next.
    pub(crate) fn asked(&self) -> Asked {
        match (&self.cursor, &self.plan.access) {
            (Some(_), _) => Asked::NextPage,
            (None, Access::Read) => Asked::Patient,
            (None, Access::Search { .. } | Access::Everything) => Asked::FirstPage,
        }
    }

    pub(crate) fn advance(&mut self, next: String, now: Timestamp) {
        self.cursor = Some(next);
        self.cursor_at = Some(now);
    }

    /// Whether the cursor is so old that the source may have forgotten the search.
    pub(crate) fn is_suspect(&self, now: Timestamp) -> bool {
        self.cursor.is_some()
            && self
                .cursor_at
                .is_some_and(|at| now.since(at) >= CURSOR_AGE_MAX)
    }

    /// The cursor is void: begins the search anew, a few times.
    pub(crate) fn expire(&mut self) {
        if self.restarts >= RESTARTS_MAX {
            return self.stop(TypeOutcome::GaveUp, "cursor_expired");
        }
        self.restarts += 1;
        self.begin_search();
    }

    /// Begins the search anew with pages half as large; false where they cannot be
    /// smaller.
    pub(crate) fn shrink(&mut self, count_max: u32) -> bool {
        let count = self.count.unwrap_or(count_max);
        if self.plan.without_count || self.plan.access == Access::Read || count <= COUNT_MIN {
            return false;
        }
        self.count = Some((count / 2).max(COUNT_MIN));
        self.timeouts = 0;
        self.begin_search();
        true
    }

    /// Goes back to the first page.
    pub(crate) fn begin_search(&mut self) {
        self.cursor = None;
        self.cursor_at = None;
        self.visited.clear();
    }
}

impl Line {
    /// Counts a resource that is staged, where it is a masked copy.
    pub(crate) fn look_at(&mut self, resource: &RawResource) {
        self.masked += u64::from(is_masked(&resource.text));
    }

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
            may_lack: false,
            mode: None,
            notes: self
                .reasons
                .iter()
                .map(|(code, count)| (code.as_str(), *count))
                .chain((self.masked > 0).then_some((TypeNote::MASKED, self.masked)))
                .map(|(code, count)| TypeNote::counted(code, count))
                .collect(),
        }
    }
}

/// A hash of how a type is asked for. A plan names no patient.
pub(crate) fn plan_hash(plan: &StreamPlan) -> String {
    // A plan has no `meta`, so this is SHA-256, cut, over its JSON.
    content_hash(&encode(plan)).to_string()
}

/// The saved progress of the references step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReferenceProgress {
    /// The last reference read in the round at work, in the order of (type, id).
    pub(crate) last: Option<(String, String)>,
    /// Rounds that are done.
    pub(crate) round: u32,
    /// Hashes of what was asked for, found or not.
    pub(crate) asked: BTreeSet<u64>,
    /// Of these, hashes of what was not found.
    pub(crate) dangling: BTreeSet<u64>,
    /// Reads of a type in a row that were refused.
    pub(crate) refused: BTreeMap<String, u32>,
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

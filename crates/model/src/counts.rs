//! True counts (I8): every resource that was served is counted once.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What happened to the resources of one type in one pull, or to all of them.
///
/// `fetched = new + changed + unchanged + repeated + superseded + ignored +
/// rejected`; `deleted` apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullCounts {
    /// Resources the source served.
    pub fetched: u64,
    /// Not known before.
    pub new: u64,
    /// Known, with other content.
    pub changed: u64,
    /// Known, with the same content.
    pub unchanged: u64,
    /// Served again in this pull with the same content.
    pub repeated: u64,
    /// Served in this pull in an older version too.
    pub superseded: u64,
    /// Not asked for: outcomes, includes of types not wanted.
    pub ignored: u64,
    /// Without a usable id or resourceType.
    pub rejected: u64,
    /// Gone at the source.
    pub deleted: u64,
}

impl PullCounts {
    /// Whether every fetched resource is accounted for (I8).
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.fetched
            == self.new
                + self.changed
                + self.unchanged
                + self.repeated
                + self.superseded
                + self.ignored
                + self.rejected
    }
}

impl AddAssign for PullCounts {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.new += other.new;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.repeated += other.repeated;
        self.superseded += other.superseded;
        self.ignored += other.ignored;
        self.rejected += other.rejected;
        self.deleted += other.deleted;
    }
}

/// What happened to the resources of an export: `planned = delivered + skipped +
/// failed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportCounts {
    /// Rows the plan spans.
    pub planned: u64,
    /// Rows written, tombstones included.
    pub delivered: u64,
    /// Rows not wanted: superseded within the span, or of a type left out.
    pub skipped: u64,
    /// Rows that could not be delivered.
    pub failed: u64,
}

impl AddAssign for ExportCounts {
    fn add_assign(&mut self, other: Self) {
        self.planned += other.planned;
        self.delivered += other.delivered;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

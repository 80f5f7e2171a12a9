//! True counts (I8): every resource that was served is counted once.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::AttachmentState;

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

/// What became of the attachments that a pull had to do with: those that its resources
/// name by URL, and those that failed before.
///
/// `found = fetched + unchanged + failed + refused + gone + too_large +
/// type_not_allowed + elsewhere`; the size apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachmentCounts {
    /// All of them.
    pub found: u64,
    /// Fetched by this pull.
    pub fetched: u64,
    /// Fetched before, and the same.
    pub unchanged: u64,
    /// Not had, since the source failed: a later pull asks again.
    pub failed: u64,
    /// Not given.
    pub refused: u64,
    /// Not there.
    pub gone: u64,
    /// Larger than the limit.
    pub too_large: u64,
    /// Of a media type that is not taken.
    pub type_not_allowed: u64,
    /// At another server, or nowhere: not asked for.
    pub elsewhere: u64,
    /// The size of what was fetched, in bytes.
    pub size_bytes: u64,
}

impl AttachmentCounts {
    /// Counts one that stays as it is known: fetched ones as unchanged.
    pub fn count(&mut self, state: AttachmentState) {
        self.found += 1;
        *match state {
            AttachmentState::Fetched => &mut self.unchanged,
            AttachmentState::Failed => &mut self.failed,
            AttachmentState::Refused => &mut self.refused,
            AttachmentState::Gone => &mut self.gone,
            AttachmentState::TooLarge => &mut self.too_large,
            AttachmentState::TypeNotAllowed => &mut self.type_not_allowed,
            AttachmentState::Elsewhere => &mut self.elsewhere,
        } += 1;
    }

    /// Counts one that was fetched, of so many bytes.
    pub fn count_fetched(&mut self, size_bytes: u64) {
        self.found += 1;
        self.fetched += 1;
        self.size_bytes += size_bytes;
    }

    /// Whether every attachment is accounted for (I8).
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.found
            == self.fetched
                + self.unchanged
                + self.failed
                + self.refused
                + self.gone
                + self.too_large
                + self.type_not_allowed
                + self.elsewhere
    }
}

impl AddAssign for AttachmentCounts {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.fetched += other.fetched;
        self.unchanged += other.unchanged;
        self.failed += other.failed;
        self.refused += other.refused;
        self.gone += other.gone;
        self.too_large += other.too_large;
        self.type_not_allowed += other.type_not_allowed;
        self.elsewhere += other.elsewhere;
        self.size_bytes += other.size_bytes;
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

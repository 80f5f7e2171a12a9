//! What a worker does at once and how much at a time, and the upkeep.

use super::texts;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[worker]`: slots, budgets and sizes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Pull steps at the same time.
    pub pull_slots: usize,
    /// Export steps at the same time.
    pub export_slots: usize,
    /// Groups of types one pull fetches side by side.
    pub streams_per_pull: usize,
    /// Resources asked for per page.
    pub page_count: u32,
    /// Milliseconds after which everything of a type is asked for again.
    pub full_pull_after_ms: u64,
    /// Milliseconds that a search for changes goes back.
    pub pull_overlap_ms: u64,
    /// Bytes of the largest attachment that is fetched.
    pub attachment_bytes_max: u64,
    /// The media types of attachments that are fetched.
    #[serde(deserialize_with = "texts")]
    pub attachment_types: Vec<String>,
    /// Pages after which a pull continues as new.
    pub pages_per_run: u32,
    /// Chunks after which an export continues as new.
    pub chunks_per_run: u32,
    /// Rows packed into one chunk.
    pub chunk_rows_target: u64,
    /// Bytes at which a part is closed.
    pub part_size_target_bytes: u64,
    /// Milliseconds between two saves of a chunk's position.
    pub chunk_save_ms: u64,
    /// Bytes at which a staging object is closed.
    pub staging_size_target_bytes: u64,
    /// Milliseconds a destination waits for further pulls.
    pub linger_ms: u64,
    /// Milliseconds between two looks at what is due.
    pub dispatch_interval_ms: u64,
    /// Milliseconds that are waited after a first failure.
    pub back_off_first_ms: u64,
    /// Milliseconds that are waited after many failures, and at most.
    pub back_off_max_ms: u64,
    /// Steps after which a worker drains and is replaced by a new one.
    pub recycle_after_steps: u64,
}

impl WorkerSettings {
    /// `linger_ms` as a duration.
    #[must_use]
    pub fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    /// Pull steps that talk to one source at the same time: a quarter of all.
    #[must_use]
    pub fn source_slots(&self) -> u64 {
        (self.pull_slots as u64 / 4).max(1)
    }

    /// Pulls of one source that are at work at the same time: twice as many as its
    /// slots could serve with all their steps, since between their steps they hold
    /// none, and one that waits.
    #[must_use]
    pub fn pulls_per_source(&self) -> u64 {
        let lanes = (self.streams_per_pull as u64).max(1);
        2 * self.source_slots().div_ceil(lanes) + 1
    }

    /// `dispatch_interval_ms` as a duration.
    #[must_use]
    pub fn dispatch_interval(&self) -> Duration {
        Duration::from_millis(self.dispatch_interval_ms)
    }
}

/// `[maintain]`: upkeep of record store, destinations and database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MaintainSettings {
    /// Milliseconds between two passes.
    pub interval_ms: u64,
    /// Batches at which a log is merged.
    pub merge_batches: u64,
    /// Percentage of its live bytes at which a log is merged.
    pub merge_log_percent: u64,
    /// Milliseconds that superseded objects stay.
    pub superseded_age_ms: u64,
    /// Milliseconds that files stay that nothing names.
    pub orphan_age_ms: u64,
    /// Days that the details of ended runs stay.
    pub retention_days: u64,
}

impl MaintainSettings {
    /// `interval_ms` as a duration.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// `superseded_age_ms` as a duration.
    #[must_use]
    pub fn superseded_age(&self) -> Duration {
        Duration::from_millis(self.superseded_age_ms)
    }

    /// `orphan_age_ms` as a duration.
    #[must_use]
    pub fn orphan_age(&self) -> Duration {
        Duration::from_millis(self.orphan_age_ms)
    }

    /// `retention_days` as a duration.
    #[must_use]
    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_days * 24 * 60 * 60)
    }
}

//! The faults a test or a person can turn on while the portal runs.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Faults of the portal, all off by default. They act on requests under `/fhir`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Waited before each answer, on top of the sandbox's own latency.
    pub latency_ms: u64,
    /// So many requests are answered with 503 and `Retry-After: 1`; counts down.
    pub fail_next: u32,
    /// Searches and reads of these types are answered with this status and an OperationOutcome.
    pub status_for_type: BTreeMap<String, u16>,
    /// Reads of these single resources (`Type/id`) are answered with this status and an OperationOutcome;
    /// searches find them as ever.
    pub status_for_read: BTreeMap<String, u16>,
    /// These resources (`Type/id`) are found by no search; reads give them as ever.
    pub hidden_from_search: BTreeSet<String>,
    /// Searches and reads of these types are never answered.
    pub hang: BTreeSet<String>,
    /// More requests than this in one second are answered with 429 and `Retry-After: 1`.
    pub requests_per_second: Option<u32>,
    /// Each page but the first serves the previous page's first entry again.
    pub repeat_pages: bool,
    /// The next request for a further page is answered with 410, then and ever after; turns itself off.
    pub expire_cursor_once: bool,
}

/// The knobs and what they count.
#[derive(Debug, Default)]
pub(crate) struct KnobState {
    pub(crate) knobs: Knobs,
    window: Option<(Instant, u32)>,
    /// Searches whose cursors have expired.
    expired: BTreeSet<u64>,
}

impl KnobState {
    /// The status of a refusal that concerns every type, if one is due now.
    pub(crate) fn refusal(&mut self, now: Instant) -> Option<u16> {
        if let Some(limit) = self.knobs.requests_per_second {
            let (start, count) = match self.window {
                Some((start, count)) if now.duration_since(start).as_secs() == 0 => {
                    (start, count + 1)
                }
                _ => (now, 1),
            };
            self.window = Some((start, count));
            if count > limit {
                return Some(429);
            }
        }
        if self.knobs.fail_next > 0 {
            self.knobs.fail_next -= 1;
            return Some(503);
        }
        None
    }

    /// Whether the cursors of this search have expired, now or before.
    pub(crate) fn cursor_expired(&mut self, search: u64) -> bool {
        if std::mem::take(&mut self.knobs.expire_cursor_once) {
            self.expired.insert(search);
        }
        self.expired.contains(&search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_rate_limit_counts_per_second() {
        let mut state = KnobState::default();
        state.knobs.requests_per_second = Some(2);
        let now = Instant::now();
        assert_eq!(
            [now; 3].map(|at| state.refusal(at)),
            [None, None, Some(429)]
        );
        assert_eq!(state.refusal(now + Duration::from_secs(1)), None);
    }
}

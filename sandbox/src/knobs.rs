//! The faults a test or a person can turn on while the portal runs.

use crate::attachments::Document;
use crate::export::ExportKnobs;
use crate::faults::{Answer, Break, Links};
use crate::row::Row;
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
    /// What searches of these types must name beside the patient; others are refused.
    pub demands: BTreeMap<String, Demand>,
    /// Searches of these types that name `_count` are refused with 400.
    pub refuses_count: BTreeSet<String>,
    /// Searches and reads of these types are answered so.
    pub answers: BTreeMap<String, Answer>,
    /// Further pages of these types are answered so.
    pub next_answers: BTreeMap<String, Answer>,
    /// How next links of these types are written, and where they lead.
    pub next_links: BTreeMap<String, Links>,
    /// Each page of these types says that something was left out (code `suppressed`, 59204).
    pub suppressed: BTreeSet<String>,
    /// Each page says as its `total` how many entries it has itself.
    pub counts_the_page: bool,
    /// Entries a page at most, below the sandbox's own.
    pub page_size: Option<usize>,
    /// Searches of these types for more entries a page than this are answered with 504.
    pub times_out_above_count: BTreeMap<String, usize>,
    /// These resources (`Type/id`) are broken on their way out.
    pub breaks: BTreeMap<String, Break>,
    /// Types that `$everything` and `$export` leave out.
    pub left_out: BTreeSet<String>,
    /// Patients whose records `$everything` and `$export` give along with the one asked for.
    pub given_along: BTreeSet<String>,
    /// How exports go.
    pub export: ExportKnobs,
    /// Searches of these types give everything, whatever `_lastUpdated` asks for.
    pub ignores_last_updated: BTreeSet<String>,
    /// The self link of searches of these types does not name `_lastUpdated`.
    pub hides_last_updated: BTreeSet<String>,
    /// Searches of these types that name `_lastUpdated` are refused with 400.
    pub refuses_last_updated: BTreeSet<String>,
    /// What is wrong with documents, by the id of their Binary.
    pub documents: BTreeMap<String, Document>,
    /// How far the portal's clock is ahead, in seconds: in `Date`, and in the times of what is written to it.
    pub clock_ahead_s: i64,
}

/// What a search must name beside the patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The parameter: `category`, `intent`, `status` or `lifecycle-status`.
    pub parameter: String,
    /// Values that are granted: another is refused with 400. Empty: all.
    #[serde(default)]
    pub values: Vec<String>,
    /// The status of the refusal of a plain search.
    pub status: u16,
    /// Its issue's code.
    pub code: String,
    /// Its issue's text.
    pub text: String,
}

impl Knobs {
    /// Whether a client that asks often enough is answered about a type, and gets
    /// this row whole.
    pub(crate) fn serves(&self, row: &Row) -> bool {
        let answer = self.answers.get(row.searched_as());
        answer.is_none_or(|answer| !answer.is_lasting()) && self.broken(row).is_none()
    }

    pub(crate) fn broken(&self, row: &Row) -> Option<Break> {
        let (ty, id) = row.key.as_ref()?;
        // Formatting a name for every row would be most of a page's work.
        if self.breaks.is_empty() {
            return None;
        }
        self.breaks.get(&format!("{ty}/{id}")).copied()
    }
}

impl Demand {
    /// Whether a search by the parameter and some value finds the row.
    pub(crate) fn reveals(&self, row: &Row) -> bool {
        if self.values.is_empty() {
            row.has(&self.parameter)
        } else {
            self.values
                .iter()
                .any(|value| row.matches(&self.parameter, value))
        }
    }
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

    /// The answer to give instead of a type's right one, if one is due now.
    pub(crate) fn answer(&mut self, ty: &str, is_next: bool) -> Option<Answer> {
        let answers = match is_next {
            true => &mut self.knobs.next_answers,
            false => &mut self.knobs.answers,
        };
        let answer = answers.get_mut(ty).filter(|answer| answer.is_given())?;
        let given = answer.clone();
        answer.times = answer.times.map(|times| times - 1);
        Some(given)
    }

    /// What is wrong with a document now; its status, as often as that is given.
    pub(crate) fn document(&mut self, id: &str) -> Document {
        let Some(document) = self.knobs.documents.get_mut(id) else {
            return Document::default();
        };
        let mut given = document.clone();
        match &mut document.times {
            Some(0) => given.status = None,
            Some(times) => *times -= 1,
            None => {}
        }
        given
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

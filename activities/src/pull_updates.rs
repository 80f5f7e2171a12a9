//! What has changed since a type was last had: asking a source for that by
//! `_lastUpdated`, noticing that it does not filter so, and finding out up to when
//! changes are had.
//!
//! Invariant: the source's own clocks alone count here, what it writes into
//! `lastUpdated` and its `Date`; and a search for changes says nothing about absence.

use std::time::Duration;

use model::{PullMode, Timestamp, TypeOutcome, fhir_instant};
use serde::{Deserialize, Serialize};
use source::{Access, Page};

use crate::pull_progress::Stream;

/// `Date` names a second: what lies in it is not after it.
const DATE_PRECISION: Duration = Duration::from_micros(999_999);

/// Where a stream stands with the changes of its type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Updates {
    /// Only what has changed since then is asked for; none: everything.
    pub(crate) since: Option<Timestamp>,
    /// The source's clock when the stream began.
    began_at: Option<Timestamp>,
    /// The newest change that is had: what lies after the beginning does not count,
    /// since a date in the future would hide the changes up to it.
    newest: Option<Timestamp>,
    /// Whether a resource does not say when it changed: a search for changes might
    /// never find it.
    is_unstamped: bool,
    /// Whether the source was found not to filter the type by `_lastUpdated`.
    pub(crate) is_unfiltered: bool,
}

impl Stream {
    /// This stream, for what has changed since `had_to`, and `overlap` before: what a
    /// source commits late has an earlier time than what it has served already.
    pub(crate) fn for_updates(mut self, had_to: Timestamp, overlap: Duration) -> Self {
        self.updates.since = Some(had_to.before(overlap));
        self.updates.newest = Some(had_to);
        self
    }

    /// What the stream asks for.
    pub(crate) fn mode(&self) -> PullMode {
        match self.updates.since {
            Some(_) => PullMode::Updated,
            None => PullMode::Full,
        }
    }

    /// Whether a page is no answer to a search for changes: the source does not say
    /// that it has filtered, or its clock went back behind what it wrote before, so
    /// that changes may have any time. Then everything is asked for instead.
    pub(crate) fn refuses_updates(&mut self, page: &Page) -> bool {
        if self.cursor.is_some() || self.updates.since.is_none() {
            return false;
        }
        let now = page.served_at.map(|at| at.after(DATE_PRECISION));
        let went_back = now < self.updates.newest;
        let is_unfiltered = !page.is_by_last_updated;
        (went_back || is_unfiltered) && self.ask_for_all(is_unfiltered)
    }

    /// A search for changes came to nothing: asks for everything, from the beginning.
    /// False where it was no such search. `is_unfiltered` says whether the source does
    /// not filter by `_lastUpdated`, rather than that something passing came between.
    pub(crate) fn ask_for_all(&mut self, is_unfiltered: bool) -> bool {
        if self.cursor.is_some() || self.updates.since.is_none() {
            return false;
        }
        self.updates = Updates {
            is_unfiltered,
            began_at: self.updates.began_at,
            ..Updates::default()
        };
        self.failures = 0;
        self.begin_anew();
        true
    }

    /// Notes what a page says of changes, before the stream moves on.
    pub(crate) fn note_changes(&mut self, page: &Page) {
        let updates = &mut self.updates;
        if self.cursor.is_none() && updates.began_at.is_none() {
            updates.began_at = page.served_at;
        }
        let Some(now) = updates.began_at.map(|at| at.after(DATE_PRECISION)) else {
            return;
        };
        let of_type = |head: &&model::Head| head.resource_type == self.plan.resource_type;
        let heads = page.resources.iter().map(|resource| &resource.head);
        for head in heads.filter(of_type) {
            match head.last_updated.as_deref().and_then(fhir_instant) {
                None => updates.is_unstamped = true,
                Some(at) if at <= now => updates.newest = updates.newest.max(Some(at)),
                Some(_) => {}
            }
        }
    }

    /// The newest change that is had once the stream is complete; none where nothing
    /// tells, as of an empty type: then the next pull asks for everything.
    pub(crate) fn had_to(&self) -> Option<Timestamp> {
        let is_known = !self.updates.is_unstamped && self.updates.began_at.is_some();
        let is_search = self.plan.access != Access::Read;
        self.updates.newest.filter(|_| is_known && is_search)
    }

    /// Whether the source turned out not to filter the type, and gave it otherwise.
    pub(crate) fn is_found_unfiltered(&self) -> bool {
        let is_had = matches!(
            self.line.outcome,
            Some(TypeOutcome::Complete | TypeOutcome::Suppressed)
        );
        self.updates.is_unfiltered && is_had
    }
}

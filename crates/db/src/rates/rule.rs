//! How the rate of a source changes: additive growth, multiplicative shrinking, as TCP
//! finds what a network bears. A rate is in thousandths of a request a second.
//!
//! Never: reads a clock or a row.

use std::time::Duration;

use model::Timestamp;

/// Turns are 4 % further apart than the rate says: requests do not arrive as evenly as
/// they are sent, and what a source counts in ten seconds must not be more than it allows.
const INTERVAL_US_MILLI: u64 = 1_040_000_000;

/// What throttling leaves of a rate.
const LEFT_PERCENT: u64 = 70;
/// No source is asked less often, as none can be limited to less.
const FLOOR_MILLI: u64 = 1_000;
/// So long after it shrank, a rate does not shrink again: the answers of that time are
/// to requests that were sent before, or come from others who were throttled too.
const ONE_SHRINK: Duration = Duration::from_secs(1);
/// Seconds of use in which a rate grows by as much as it had been before it shrank, or
/// by a tenth of the most that there is, whichever is more.
const GROWTH_SECONDS: u64 = 30;
/// What a source bore so long ago says nothing of now.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A source without a limit is asked as often as workers like until it throttles: then
/// its rate is taken to have been twice what the worker that noticed has asked, since
/// others ask too, and at least this.
const UNLIMITED_MILLI_MIN: u64 = 50_000;
/// For growth such a source counts as having this limit.
const UNLIMITED_MILLI: u64 = 100_000;
/// A rate that has grown so far holds nothing back.
const BOUNDLESS_MILLI: u64 = 1_000_000;

/// One part in so many of how long requests take is what the last lease says.
const SMOOTHING: u64 = 4;

/// What a worker asks for when it leases turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnsAsked {
    /// The source's limit, in requests a second.
    pub limit: Option<u32>,
    /// What the lease spans at most, beyond one turn: what a worker that dies leaves
    /// unused.
    pub span: Duration,
    /// How far off the first turn may be.
    pub patience: Duration,
    /// How long the worker's requests have taken since its last lease, on average.
    pub took: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// These turns.
    Turns {
        /// When the first is.
        first: Timestamp,
        /// From one to the next.
        interval: Duration,
        /// How many.
        count: u32,
    },
    /// Nothing holds the source back.
    Free,
    /// None: the next turn is beyond the patience.
    Later {
        /// How far off it is.
        after: Duration,
        /// The source itself wants to be left alone until then.
        is_held: bool,
    },
}

/// A source that has answered 429 or 503.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// The source's limit, in requests a second.
    pub limit: Option<u32>,
    /// How often the worker that was answered so has asked, in requests a second.
    pub asked_per_second: u32,
    /// How long the source wants to be left alone.
    pub hold: Duration,
}

/// The rate of a source at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRate {
    /// The next turn that nobody has.
    pub(crate) next_at: Timestamp,
    /// What its throttling has left; none: the whole.
    pub(crate) milli_per_second: Option<u64>,
    /// What a second of use adds to that.
    pub(crate) growth_milli: u64,
    /// When it shrank.
    pub(crate) throttled_at: Timestamp,
    /// It wants to be left alone until then.
    pub(crate) held_until: Timestamp,
    /// How long a request takes.
    pub(crate) request_us: Option<u64>,
}

impl Default for SourceRate {
    fn default() -> Self {
        Self {
            next_at: Timestamp(0),
            milli_per_second: None,
            growth_milli: 0,
            throttled_at: Timestamp(0),
            held_until: Timestamp(0),
            request_us: None,
        }
    }
}

impl SourceRate {
    /// How often the source is asked at most now, in thousandths of a request a second;
    /// none: as often as workers like.
    #[must_use]
    pub fn milli_per_second(&self, limit: Option<u32>, now: Timestamp) -> Option<u64> {
        let limit = limit.map(milli);
        match self.left(now) {
            Some(left) => Some(limit.map_or(left, |limit| left.min(limit))),
            None => limit,
        }
    }

    /// Whether its throttling holds the source back.
    #[must_use]
    pub fn is_throttled(&self, now: Timestamp) -> bool {
        self.left(now).is_some()
    }

    /// Until when the source wants to be left alone, if it does.
    #[must_use]
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.held_until).filter(|until| *until > now)
    }

    /// How far off the next turn is.
    #[must_use]
    pub fn wait(&self, now: Timestamp) -> Duration {
        self.next_at.max(self.held_until).since(now)
    }

    /// What throttling has left, unless that was long ago.
    fn left(&self, now: Timestamp) -> Option<u64> {
        let last = self.next_at.max(self.throttled_at).max(self.held_until);
        self.milli_per_second
            .filter(|_| now.since(last) < FORGOTTEN)
    }

    pub(crate) fn lease(&mut self, asked: &TurnsAsked, now: Timestamp) -> Lease {
        self.smooth(asked.took);
        self.milli_per_second = self.left(now);
        let Some(milli) = self.milli_per_second(asked.limit, now) else {
            return Lease::Free;
        };
        let wait = self.wait(now);
        if wait > asked.patience {
            return Lease::Later {
                after: wait,
                is_held: self.held_until > now,
            };
        }
        let interval = Duration::from_micros(INTERVAL_US_MILLI / milli.max(1));
        let count = asked.span.as_micros() / interval.as_micros().max(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let first = now.after(wait);
        self.next_at = first.after(interval * count);
        self.grow(asked.limit, interval * count);
        Lease::Turns {
            first,
            interval,
            count,
        }
    }

    pub(crate) fn throttle(&mut self, throttled: &Throttled, now: Timestamp) {
        self.held_until = self.held_until.max(now.after(throttled.hold));
        if now.since(self.throttled_at) < ONE_SHRINK {
            return;
        }
        let was = self.milli_per_second(throttled.limit, now);
        let was = was.unwrap_or_else(|| {
            let asked = 2 * milli(throttled.asked_per_second);
            asked.clamp(UNLIMITED_MILLI_MIN, BOUNDLESS_MILLI)
        });
        let most = throttled.limit.map_or(UNLIMITED_MILLI, milli);
        self.milli_per_second = Some((was * LEFT_PERCENT / 100).max(FLOOR_MILLI));
        self.growth_milli = was.max(most / 10).div_ceil(GROWTH_SECONDS);
        self.throttled_at = now;
    }

    /// Grows by what turns of this span are worth, up to the whole.
    fn grow(&mut self, limit: Option<u32>, used: Duration) {
        let used = u64::try_from(used.as_micros()).unwrap_or(u64::MAX);
        let most = limit.map_or(BOUNDLESS_MILLI, milli);
        let grown = self.growth_milli.saturating_mul(used).div_ceil(1_000_000);
        self.milli_per_second = self
            .milli_per_second
            .map(|left| left + grown)
            .filter(|left| *left < most);
    }

    fn smooth(&mut self, took: Option<Duration>) {
        let Some(took) = took.and_then(|took| u64::try_from(took.as_micros()).ok()) else {
            return;
        };
        let before = self.request_us.unwrap_or(took);
        self.request_us = Some((before * (SMOOTHING - 1) + took) / SMOOTHING);
    }
}

fn milli(per_second: u32) -> u64 {
    u64::from(per_second) * 1000
}

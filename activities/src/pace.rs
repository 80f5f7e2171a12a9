//! The pace at which a source is asked: turns leased from the database, so that all
//! workers together keep to its rate, and to what its throttling has left of that.
//!
//! A source without a rate needs no turns until it throttles: then a worker that sees
//! it leases them too, and one that begins a step meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use db::{Connection, Db, Lease, Throttled, TurnsAsked};
use model::Timestamp;
use source::{Answered, NoTurn, Pace};

use crate::pull_stream::WAIT_HERE_MAX;

/// What a lease spans at most, beyond one turn: what a worker that dies leaves
/// unused, and how long workers that share a source wait for each other.
const LEASE_MAX: Duration = Duration::from_millis(100);
/// A turn may be used so late: more than that, and it would come together with those
/// after it.
const LATE_MAX: Duration = Duration::from_millis(100);
/// A throttled source is told of so often, unless it wants to be left alone for longer.
const TELL: Duration = Duration::from_secs(1);

/// The pace of one source in this worker.
#[derive(Debug)]
pub(crate) struct SourcePace {
    db: Db,
    subject: String,
    limit: Option<u32>,
    /// Whether requests need turns.
    is_paced: AtomicBool,
    turns: tokio::sync::Mutex<VecDeque<Turn>>,
    seen: Mutex<Seen>,
}

/// A turn that is leased and not taken.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Timestamp,
    until: Timestamp,
}

/// What this worker has seen of a source.
#[derive(Debug)]
struct Seen {
    /// When the second at work began, the requests in it, and those in the one before.
    second: Instant,
    asked: u32,
    asked_before: u32,
    /// How long requests have taken since the last lease, together.
    took: Duration,
    answered: u32,
    /// When the database was told of throttling, and until when of being left alone.
    told: Option<(Timestamp, Timestamp)>,
}

impl SourcePace {
    pub(crate) fn new(db: Db, connection: &Connection) -> Self {
        Self {
            db,
            subject: connection.summary.source_id.to_string(),
            limit: connection.limits.requests_per_second,
            is_paced: AtomicBool::new(connection.limits.requests_per_second.is_some()),
            turns: tokio::sync::Mutex::default(),
            seen: Mutex::new(Seen::new()),
        }
    }

    /// Whether this is still the pace for a connection: its source has the same limit.
    pub(crate) fn is_of(&self, connection: &Connection) -> bool {
        self.limit == connection.limits.requests_per_second
    }

    /// Takes over what others have seen of the source.
    pub(crate) fn learn(&self, connection: &Connection) {
        if connection.rate.is_throttled(Timestamp::now()) {
            self.is_paced.store(true, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next turn; none where nothing holds the source back any more. One that has
    /// passed by too much is lost.
    async fn next(&self) -> Result<Option<Timestamp>, NoTurn> {
        let mut turns = self.turns.lock().await;
        loop {
            while let Some(turn) = turns.pop_front() {
                if Timestamp::now() <= turn.until {
                    return Ok(Some(turn.at));
                }
            }
            let asked = TurnsAsked {
                limit: self.limit,
                span: LEASE_MAX,
                patience: WAIT_HERE_MAX,
                took: self.seen().took(),
            };
            let leased = self.db.lease_turns(&self.subject, &asked).await;
            let leased = leased.map_err(|error| {
                tracing::warn!(source.id = self.subject, "no turn was leased: {error}");
                NoTurn::Unknown
            })?;
            match leased {
                Lease::Later { after, is_held } => return Err(NoTurn::Later { after, is_held }),
                Lease::Free => {
                    self.is_paced.store(false, Ordering::Relaxed);
                    return Ok(None);
                }
                Lease::Turns {
                    first,
                    interval,
                    count,
                } => turns.extend((0..count).map(|number| {
                    let at = first.after(interval * number);
                    let until = at.after(LATE_MAX);
                    Turn { at, until }
                })),
            }
        }
    }

    /// Tells all workers that the source throttles.
    async fn throttle(&self, hold: Duration) {
        let now = Timestamp::now();
        let Some(asked_per_second) = self.seen().tell(now, now.after(hold)) else {
            return;
        };
        self.is_paced.store(true, Ordering::Relaxed);
        self.turns.lock().await.clear();
        let throttled = Throttled {
            limit: self.limit,
            asked_per_second,
            hold,
        };
        let source = self.subject.as_str();
        match self.db.throttle(source, &throttled).await {
            Ok(rate) => tracing::info!(
                source.id = source,
                milli_per_second = rate.milli_per_second(self.limit, now),
                hold_ms = hold.as_millis() as u64,
                "the source throttles: it is asked less often"
            ),
            Err(error) => tracing::warn!(
                source.id = source,
                "it is not noted that the source throttles: {error}"
            ),
        }
    }
}

impl Pace for SourcePace {
    fn turn(&self) -> Pin<Box<dyn Future<Output = Result<(), NoTurn>> + Send + '_>> {
        Box::pin(async {
            if self.is_paced.load(Ordering::Relaxed)
                && let Some(turn) = self.next().await?
            {
                tokio::time::sleep(turn.since(Timestamp::now())).await;
            }
            self.seen().ask(Instant::now());
            Ok(())
        })
    }

    fn answered(&self, answered: Answered) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.seen().answer(answered.took);
            if let Some(hold) = answered.throttled {
                self.throttle(hold.unwrap_or_default()).await;
            }
        })
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            second: Instant::now(),
            asked: 0,
            asked_before: 0,
            took: Duration::ZERO,
            answered: 0,
            told: None,
        }
    }

    fn ask(&mut self, now: Instant) {
        match now.duration_since(self.second).as_secs() {
            0 => {}
            1 => (self.second, self.asked_before, self.asked) = (now, self.asked, 0),
            _ => (self.second, self.asked_before, self.asked) = (now, 0, 0),
        }
        self.asked += 1;
    }

    fn answer(&mut self, took: Duration) {
        self.took += took;
        self.answered += 1;
    }

    /// How long requests have taken since this was asked, on average.
    fn took(&mut self) -> Option<Duration> {
        let took = std::mem::take(&mut self.took);
        took.checked_div(std::mem::take(&mut self.answered))
    }

    /// How often the source was asked a second, if the database is to be told that it
    /// throttles, and wants to be left alone until then.
    fn tell(&mut self, now: Timestamp, until: Timestamp) -> Option<u32> {
        let is_told = self
            .told
            .is_some_and(|(at, told)| now.since(at) < TELL && until.since(told) < TELL);
        if is_told {
            return None;
        }
        self.told = Some((now, until));
        Some(self.asked.max(self.asked_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_answers_that_throttle_one_is_told() {
        let mut seen = Seen::new();
        let (second, now) = (Duration::from_secs(1), Timestamp::now());
        for _ in 0..7 {
            seen.ask(seen.second);
        }
        assert_eq!(seen.tell(now, now.after(second)), Some(7));
        let soon = now.after(second / 2);
        assert_eq!(seen.tell(soon, soon.after(second)), None);
        // One that wants to be left alone for longer is.
        assert_eq!(seen.tell(soon, soon.after(9 * second)), Some(7));
        // After a second, the next.
        let later = soon.after(second);
        assert_eq!(seen.tell(later, later), Some(7));
    }

    #[test]
    fn requests_are_counted_by_the_second_and_timed_by_the_lease() {
        let mut seen = Seen::new();
        let (start, now) = (seen.second, Timestamp::now());
        for ms in [0, 100, 200, 1_100, 1_150, 2_200] {
            seen.ask(start + Duration::from_millis(ms));
        }
        assert_eq!((seen.asked, seen.asked_before), (1, 2));
        assert_eq!(seen.tell(now, now), Some(2));
        seen.ask(start + Duration::from_secs(60));
        assert_eq!((seen.asked, seen.asked_before), (1, 0));

        assert_eq!(seen.took(), None);
        seen.answer(Duration::from_millis(20));
        seen.answer(Duration::from_millis(40));
        assert_eq!(seen.took(), Some(Duration::from_millis(30)));
        assert_eq!(seen.took(), None);
    }
}

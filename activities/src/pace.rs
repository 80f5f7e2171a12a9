//! The pace at which a source is asked: turns leased from the database, so that all
//! workers together keep to its rate.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use db::Db;
use model::{SourceId, Timestamp};
use source::{NoTurn, Pace};
use tokio::sync::Mutex;

/// What a lease spans at most, beyond one turn: what a worker that dies leaves
/// unused.
const LEASE_MAX: Duration = Duration::from_millis(250);

/// The pace of one source in this worker.
#[derive(Debug)]
pub(crate) struct SourcePace {
    db: Db,
    subject: String,
    pub(crate) per_second: u32,
    /// Turns leased and not taken, the next one first.
    turns: Mutex<VecDeque<Timestamp>>,
}

impl SourcePace {
    pub(crate) fn new(db: Db, source: SourceId, per_second: u32) -> Self {
        Self {
            db,
            subject: source.to_string(),
            per_second: per_second.max(1),
            turns: Mutex::default(),
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }

    /// The next turn. One that has passed by more than an interval is lost: used
    /// late, it would come together with those after it.
    async fn next(&self) -> Result<Timestamp, NoTurn> {
        let interval = self.interval();
        let mut turns = self.turns.lock().await;
        loop {
            while let Some(turn) = turns.pop_front() {
                if turn >= Timestamp::now().before(interval) {
                    return Ok(turn);
                }
            }
            let count = (LEASE_MAX.as_micros() / interval.as_micros()).max(1);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let leased = self.db.lease_turns(&self.subject, interval, count).await;
            let first = leased.map_err(|error| {
                tracing::warn!(source.id = self.subject, "no turn was leased: {error}");
                NoTurn
            })?;
            turns.extend((0..count).map(|number| first.after(interval * number)));
        }
    }
}

impl Pace for SourcePace {
    fn turn(&self) -> Pin<Box<dyn Future<Output = Result<(), NoTurn>> + Send + '_>> {
        Box::pin(async {
            let turn = self.next().await?;
            let wait = turn.0.saturating_sub(Timestamp::now().0);
            tokio::time::sleep(Duration::from_micros(u64::try_from(wait).unwrap_or(0))).await;
            Ok(())
        })
    }
}

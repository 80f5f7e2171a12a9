//! A source's slots: every step that talks to a source holds one while it works.
//! A source has a quarter of the queue's slots, so that one that hangs leaves the
//! others theirs (I5), and fewer where it bears fewer requests at once, or its rate
//! keeps fewer steps busy. A step with several requests at once holds as many slots,
//! where the source's are counted. Nothing is lost where two attempts believe that
//! they hold the same one.

use std::future::Future;
use std::time::Duration;

use db::{Connection, Db, Slot};
use model::{ConnectionId, PullId, Timestamp, content_hash};
use tokio::sync::oneshot;

use crate::Context;
use crate::failure::Failure;
use crate::pull_stream::WAIT_HERE_MAX;

/// A slot is free again so long after its holder was last heard of: a little
/// longer than the heartbeat timeout, after which its step is tried again.
const TERM: Duration = Duration::from_secs(40);
const RENEW: Duration = Duration::from_secs(10);

/// A step of a pull that is younger than this looks for a free slot so often
/// before it is put off: where pulls are quick, so are slots. Later it looks once,
/// and a source that hangs takes no time of the queue's slots.
const YOUNG_US: i64 = 15_000_000;
const LOOKS_MAX: u32 = 4;
const LOOK: Duration = Duration::from_millis(100);

/// How long a step is put off: a quarter of its pull's age, within these bounds.
const WAIT_MIN_MS: u64 = 1_000;
const WAIT_MAX_MS: u64 = 10_000;

/// What came of asking for a slot.
pub(crate) enum Turn<T> {
    /// There was one, and the work is done.
    Done(T),
    /// All are taken: to be asked for again after so many milliseconds.
    Later(u64),
}

/// Whose step it is, and how many requests it would like to make at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) pull: PullId,
    pub(crate) step: &'a str,
    pub(crate) requests: usize,
}

/// Does `work` with a slot of the connection's source; it is told how many requests it
/// may make at once.
pub(crate) async fn with_slot<T, F: Future<Output = Result<T, Failure>>>(
    context: &Context,
    asker: Asker<'_>,
    work: impl FnOnce(usize) -> F,
) -> Result<Turn<T>, Failure> {
    let connection = context.db.connection(asker.connection).await?;
    let started = context.db.pull(asker.pull).await?.started_at;
    let now = Timestamp::now();
    let age_us = started.map_or(0, |started| now.0 - started.0);
    let holder = format!("{}/{}", asker.pull, asker.step);
    // Nobody can be asked yet: not even a look is needed.
    let off = connection.rate.wait(now);
    if off > WAIT_HERE_MAX {
        let off_ms = u64::try_from(off.as_millis()).unwrap_or(u64::MAX);
        return Ok(Turn::Later(off_ms.max(wait_ms(age_us, &holder))));
    }
    let looks = if age_us < YOUNG_US { LOOKS_MAX } else { 1 };
    let Some(slot) = look(context, &connection, &holder, looks).await? else {
        return Ok(Turn::Later(wait_ms(age_us, &holder)));
    };
    let mut slots = vec![slot];
    let mut requests = asker.requests;
    if let Some(limit) = connection.limits.concurrent_requests {
        slots.extend(further(context, &connection, limit, &holder, requests - 1).await?);
        requests = slots.len();
    }
    // They are kept on a task of their own: between two of its saves the work may
    // hold the database's only writer. Dropped with the work, `done` ends it too.
    let (done, ended) = oneshot::channel();
    let keeper = tokio::spawn(keep(context.db.clone(), slots, ended));
    let result = work(requests).await;
    drop(done);
    // It cannot panic, and a slot that was not given back ends by itself.
    let _ = keeper.await;
    result.map(Turn::Done)
}

async fn look(
    context: &Context,
    connection: &Connection,
    holder: &str,
    looks: u32,
) -> Result<Option<Slot>, Failure> {
    let source = connection.summary.source_id.to_string();
    let share = connection.steps_at_once(context.limits.source_slots);
    for number in 0..looks {
        if number > 0 {
            tokio::time::sleep(LOOK).await;
        }
        if let Some(slot) = context.db.take_slot(&source, share, holder, TERM).await? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Slots for further requests at once, as far as there are any.
async fn further(
    context: &Context,
    connection: &Connection,
    limit: u32,
    holder: &str,
    count: usize,
) -> Result<Vec<Slot>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let source = connection.summary.source_id.to_string();
    let (limit, count) = (u64::from(limit), count as u64);
    let taken = context
        .db
        .take_further_slots(&source, limit, holder, count, TERM);
    Ok(taken.await?)
}

/// Renews the slots until the work has ended, and gives them back.
async fn keep(db: Db, mut slots: Vec<Slot>, mut ended: oneshot::Receiver<()>) {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = tick.tick() => slots = renewed(&db, slots).await,
        }
    }
    for slot in slots {
        if let Err(error) = db.release_slot(&slot).await {
            tracing::warn!("a slot of a source is given back when its term ends: {error}");
        }
    }
}

/// Those of the slots that nobody else has by now.
async fn renewed(db: &Db, slots: Vec<Slot>) -> Vec<Slot> {
    let mut kept = Vec::with_capacity(slots.len());
    for mut slot in slots {
        match db.renew_slot(&mut slot, TERM).await {
            Ok(true) => kept.push(slot),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("a slot of a source could not be renewed: {error}");
                kept.push(slot);
            }
        }
    }
    kept
}

/// How long to put a step off whose pull began `age_us` ago: those that have
/// waited longer ask less often, and no two at the same time.
fn wait_ms(age_us: i64, holder: &str) -> u64 {
    let quarter_ms = u64::try_from(age_us / 4_000).unwrap_or(0);
    let wait = quarter_ms.clamp(WAIT_MIN_MS, WAIT_MAX_MS);
    let spread = u64::from(content_hash(holder.as_bytes()).0[0]);
    wait - wait * spread / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_the_age_of_the_pull_and_are_spread() {
        let wait = |age_s: i64, holder| wait_ms(age_s * 1_000_000, holder);
        assert!((750..=1_000).contains(&wait(0, "a")));
        assert!((3_700..=5_000).contains(&wait(20, "a")));
        assert!((7_500..=10_000).contains(&wait(3_600, "a")));
        assert_ne!(wait(20, "a"), wait(20, "b"));
        assert!((750..=1_000).contains(&wait(-5, "a")));
    }
}

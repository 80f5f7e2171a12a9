//! A source's slots: every step that talks to a source holds one while it works.
//! A source has a quarter of the queue's slots, so that one that hangs leaves the
//! others theirs (I5). Slots are for fairness alone: nothing is wrong where two
//! attempts believe that they hold the same one.

use std::future::Future;
use std::time::Duration;

use db::{Db, Slot};
use model::{ConnectionId, PullId, Timestamp, content_hash};
use tokio::sync::oneshot;

use crate::Context;
use crate::failure::Failure;

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

/// Does `work` with a slot of the connection's source.
pub(crate) async fn with_slot<T>(
    context: &Context,
    connection: ConnectionId,
    pull: PullId,
    step: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Turn<T>, Failure> {
    let source = context.db.connection(connection).await?.summary.source_id;
    let started = context.db.pull(pull).await?.started_at;
    let age_us = started.map_or(0, |started| Timestamp::now().0 - started.0);
    let looks = if age_us < YOUNG_US { LOOKS_MAX } else { 1 };
    let holder = format!("{pull}/{step}");
    let Some(slot) = look(context, &source.to_string(), &holder, looks).await? else {
        return Ok(Turn::Later(wait_ms(age_us, &holder)));
    };
    // The slot is kept on a task of its own: between two of its saves the work may
    // hold the database's only writer. Dropped with the work, `done` ends it too.
    let (done, ended) = oneshot::channel();
    let keeper = tokio::spawn(keep(context.db.clone(), slot, ended));
    let result = work.await;
    drop(done);
    // It cannot panic, and a slot that was not given back ends by itself.
    let _ = keeper.await;
    result.map(Turn::Done)
}

async fn look(
    context: &Context,
    source: &str,
    holder: &str,
    looks: u32,
) -> Result<Option<Slot>, Failure> {
    let share = context.limits.source_slots.max(1);
    for number in 0..looks {
        if number > 0 {
            tokio::time::sleep(LOOK).await;
        }
        if let Some(slot) = context.db.take_slot(source, share, holder, TERM).await? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Renews the slot until the work has ended, and gives it back.
async fn keep(db: Db, mut slot: Slot, mut ended: oneshot::Receiver<()>) {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = tick.tick() => match db.renew_slot(&mut slot, TERM).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!("a slot of a source could not be renewed: {error}"),
            },
        }
    }
    if let Err(error) = db.release_slot(&slot).await {
        tracing::warn!("a slot of a source is given back when its term ends: {error}");
    }
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

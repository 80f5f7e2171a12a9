//! Deletions that a pull held back: decided once.

use model::{HeldState, RunState, Trigger};

use super::Base;
use crate::testing::TestDb;
use crate::{Error, HeldChange};

crate::on_both!(held_deletions_are_decided_once);

async fn held_deletions_are_decided_once(database: TestDb) {
    let base = Base::new(database).await;
    let (db, connection) = (&base.db, base.connections("a", 1).await[0]);
    let is_refused = |result: Result<(), Error>, why: &str| match result {
        Err(Error::Conflict { what }) => assert!(what.contains(why), "{what}"),
        other => panic!("{other:?}"),
    };
    let first = base.holding(connection).await;
    let watermarks = db.type_watermarks(connection).await.unwrap();
    assert_eq!(watermarks["Condition"].plan_hash, "hash");
    let held = db.held_types(connection).await.unwrap();
    assert!(held.iter().eq(["Condition"]));

    // A later pull replaces what was held before.
    let second = base.holding(connection).await;
    assert_eq!(base.state(first).await, HeldState::Replaced);
    is_refused(db.accept_deletes(first).await.map(drop), "looked again");
    let discarded = db.discard_deletes(second).await.unwrap();
    assert_eq!(discarded.state, HeldState::Discarded);
    is_refused(
        db.discard_deletes(second).await.map(drop),
        "discarded already",
    );
    let kept = db.wanted_held_objects(connection).await.unwrap();
    assert!(kept.is_empty(), "{kept:?}");

    // A queued pull will look again; and one that settles is not joined by others.
    let third = base.holding(connection).await;
    db.request_pull(connection, Trigger::Manual).await.unwrap();
    is_refused(db.accept_deletes(third).await.map(drop), "look again");
    let fetch = db.claim_pull(connection, "w").await.unwrap().unwrap();
    let accepting = db.accept_deletes(third).await.unwrap();
    is_refused(
        db.request_pull(connection, Trigger::Manual).await.map(drop),
        "ask again",
    );
    is_refused(db.accept_deletes(third).await.map(drop), "accepted already");

    // A pull that does not come to it leaves the decision open.
    db.end_pull(fetch, RunState::Failed, "x").await.unwrap();
    assert_eq!(
        db.claim_pull(connection, "w").await.unwrap(),
        Some(accepting)
    );
    let state = RunState::Cancelled;
    db.end_pull(accepting, state, "cancelled").await.unwrap();
    assert_eq!(base.state(third).await, HeldState::Held);
    assert_eq!(db.waiting_deletes().await.unwrap().len(), 1);

    let accepting = db.accept_deletes(third).await.unwrap();
    let settles = db.accepted_deletes(accepting).await.unwrap().unwrap();
    assert_eq!(settles.pull_id, third);
    let settled = base.settled(connection, HeldChange::Settle).await;
    assert_eq!(settled, accepting);
    assert_eq!(base.state(third).await, HeldState::Accepted);
    assert!(db.waiting_deletes().await.unwrap().is_empty());
    let kept = db.wanted_held_objects(connection).await.unwrap();
    assert!(kept.is_empty(), "{kept:?}");
}

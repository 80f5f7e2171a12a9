//! Held deletions, and a destination that is added, beside a settle.

use std::collections::BTreeMap;

use model::RunState;

use super::{NOTHING_HELD, settle, settling};
use crate::races::{Scene, add_destination};
use crate::testing::TestDb;
use crate::{HeldChange, NewHold};

crate::on_both!(
    held_deletions_are_accepted_once_or_replaced,
    a_new_destination_lacks_what_settles_meanwhile,
);

async fn held_deletions_are_accepted_once_or_replaced(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    let hold = |name: u64| {
        HeldChange::Replace(Some(NewHold {
            object_key: format!("held-{name}"),
            types: BTreeMap::from([("Condition".to_owned(), 12)]),
            head_seq: 0,
        }))
    };
    let (mut pull, token) = settling(&scene).await;
    settle(db, &scene, pull, &token, 0, hold(0)).await.unwrap();
    for round in 1..10 {
        let (next, token) = settling(&scene).await;
        let (one, two, settled) = tokio::join!(
            db.accept_deletes(pull),
            db.accept_deletes(pull),
            settle(db, &scene, next, &token, round, hold(round))
        );
        settled.unwrap();
        assert!(!(one.is_ok() && two.is_ok()), "{one:?} {two:?}");
        // Whoever accepted, the settle has looked again: nothing older is settled.
        assert_eq!(scene.count("held_deletes WHERE state = 'held'").await, 1);
        assert_eq!(
            scene.count("held_deletes WHERE state = 'accepted'").await,
            0
        );
        if let Ok(accepting) = one.or(two) {
            db.end_pull(accepting, RunState::Failed, "x").await.unwrap();
        }
        pull = next;
    }
}

async fn a_new_destination_lacks_what_settles_meanwhile(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    for round in 0..10 {
        let (pull, token) = settling(&scene).await;
        let name = format!("new-{round}");
        let (settled, added) = tokio::join!(
            settle(db, &scene, pull, &token, round, NOTHING_HELD),
            add_destination(db, &name)
        );
        settled.unwrap();
        let marks = format!("marks WHERE destination_id = '{added}'");
        assert_eq!(scene.count(&marks).await, 1, "round {round}");
    }
}

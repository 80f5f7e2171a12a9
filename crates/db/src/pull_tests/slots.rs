//! Slots of a source: a share, and what is left of it.

use std::time::Duration;

use super::{Base, TERM};
use crate::testing::TestDb;

crate::on_both!(
    a_subject_has_its_share_of_slots_and_no_more,
    further_slots_are_what_is_left,
);

async fn a_subject_has_its_share_of_slots_and_no_more(database: TestDb) {
    let base = Base::new(database).await;
    let take = |subject, holder| base.db.take_slot(subject, 2, holder, TERM);
    let mut first = take("a", "one").await.unwrap().unwrap();
    take("a", "two").await.unwrap().unwrap();
    assert_eq!(take("a", "three").await.unwrap(), None);
    take("b", "three").await.unwrap().unwrap();

    // Another attempt of the holder takes its own over; the one before has lost it.
    let again = take("a", "one").await.unwrap().unwrap();
    assert!(!base.db.renew_slot(&mut first, TERM).await.unwrap());
    base.db.release_slot(&first).await.unwrap();
    assert_eq!(take("a", "three").await.unwrap(), None);

    base.db.release_slot(&again).await.unwrap();
    take("a", "three").await.unwrap().unwrap();
    assert_eq!(take("a", "one").await.unwrap(), None);

    // One whose holder is not heard of any more ends by itself.
    let ended = base.db.take_slot("c", 1, "one", Duration::ZERO).await;
    assert!(ended.unwrap().is_some());
    base.db
        .take_slot("c", 1, "two", TERM)
        .await
        .unwrap()
        .unwrap();
}

async fn further_slots_are_what_is_left(database: TestDb) {
    let base = Base::new(database).await;
    let further = |holder, count| base.db.take_further_slots("a", 4, holder, count, TERM);
    let first = base.db.take_slot("a", 2, "one", TERM).await.unwrap();
    let mine = further("one", 3).await.unwrap();
    assert_eq!(mine.len(), 3);
    // All four are held, those for steps among them.
    let none = base.db.take_slot("a", 2, "two", TERM).await.unwrap();
    assert_eq!(none, None);
    assert!(further("two", 3).await.unwrap().is_empty());
    // Another attempt has what the one before had.
    assert_eq!(further("one", 3).await.unwrap().len(), 3);
    base.db.release_slot(&first.unwrap()).await.unwrap();
    assert_eq!(further("two", 3).await.unwrap().len(), 1);

    // Those of a holder that is not heard of any more end by themselves.
    let gone = base
        .db
        .take_further_slots("b", 4, "one", 3, Duration::ZERO)
        .await;
    assert_eq!(gone.unwrap().len(), 3);
    let taken = base.db.take_further_slots("b", 4, "two", 9, TERM).await;
    assert_eq!(taken.unwrap().len(), 4);
}

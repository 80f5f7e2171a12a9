//! What the database decides for pulls: slots, whose turn it is, held deletions.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ConnectionId, HeldState, PullCounts, PullId, RunState, Timestamp, Trigger};

use crate::testing::TestDb;
use crate::{
    Db, Error, HeldChange, NewConnection, NewHold, NewSource, PullQueue, RunKind, SettleCommit,
    SourceChange, StepClaim, StepRef, WatermarkChange,
};

const TERM: Duration = Duration::from_secs(40);

crate::on_both!(
    a_subject_has_its_share_of_slots_and_no_more,
    further_slots_are_what_is_left,
    each_source_has_its_turn,
    a_source_has_no_more_pulls_at_work_than_it_bears,
    held_deletions_are_decided_once,
    a_watermark_goes_on_and_is_forgotten,
    only_what_did_not_get_everything_is_retried,
);

struct Base {
    db: Db,
    _database: TestDb,
}

impl Base {
    async fn new(database: TestDb) -> Self {
        let db = database.db.clone();
        Self {
            db,
            _database: database,
        }
    }

    /// Connections of `count` patients to a source.
    async fn connections(&self, source: &str, count: usize) -> Vec<ConnectionId> {
        let new = NewSource::new(
            source,
            &format!("https://{source}/fhir"),
            &format!("{source}/fhir"),
        );
        let source_id = self.db.add_source(&new).await.unwrap();
        let mut connections = Vec::new();
        for number in 0..count {
            let patient = format!("{source}-{number}");
            let new = NewConnection {
                patient_id: self.db.ensure_patient(&patient).await.unwrap(),
                source_id,
                source_patient_id: patient,
                token: None,
            };
            connections.push(self.db.add_connection(&new).await.unwrap());
        }
        connections
    }

    async fn due(&self, per_source: u64, limit: u32) -> Vec<String> {
        let due = self.db.due_pulls(per_source, limit).await.unwrap();
        due.into_iter().map(|run| run.subject_id).collect()
    }

    /// A pull that has settled, and holds deletions.
    async fn settled(&self, connection: ConnectionId, held: HeldChange) -> PullId {
        let whole = WatermarkChange {
            whole: Some("hash".to_owned()),
            had_to: None,
        };
        self.settled_with(connection, held, whole).await
    }

    /// As [`Self::settled`], with what becomes of the watermark of conditions.
    async fn settled_with(
        &self,
        connection: ConnectionId,
        held: HeldChange,
        watermark: WatermarkChange,
    ) -> PullId {
        let db = &self.db;
        let pull = db.claim_pull(connection, "w").await.unwrap().unwrap();
        let step = StepRef {
            kind: RunKind::Pull,
            run_id: pull.to_string(),
            name: "settle".to_owned(),
        };
        let StepClaim::Mine { token, .. } = db.claim_step::<()>(&step).await.unwrap() else {
            panic!("nobody else settles");
        };
        db.begin_settle(pull).await.unwrap();
        let commit = SettleCommit {
            connection_id: connection,
            pull_id: pull,
            step: &step,
            token: &token,
            log_version: 0,
            settle_seq: 1,
            batch: None,
            types: BTreeMap::new(),
            counts: PullCounts::default(),
            attachments: None,
            state: RunState::Partial,
            watermarks: BTreeMap::from([("Condition".to_owned(), watermark)]),
            held,
            error_code: None,
            receipt: &(),
        };
        db.commit_settle(&commit).await.unwrap();
        pull
    }

    async fn holding(&self, connection: ConnectionId) -> PullId {
        let trigger = Trigger::Manual;
        self.db.request_pull(connection, trigger).await.unwrap();
        let hold = NewHold {
            object_key: format!("held-{}", Timestamp::now().0),
            types: BTreeMap::from([("Condition".to_owned(), 12)]),
            head_seq: 0,
        };
        let change = HeldChange::Replace(Some(hold));
        self.settled(connection, change).await
    }

    async fn state(&self, pull: PullId) -> HeldState {
        self.db.held_deletes(pull).await.unwrap().unwrap().state
    }
}

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

async fn each_source_has_its_turn(database: TestDb) {
    let base = Base::new(database).await;
    let blocked = base.connections("blocked", 20).await;
    let other = base.connections("other", 3).await;
    for connection in blocked.iter().chain(&other) {
        let trigger = Trigger::Manual;
        base.db.request_pull(*connection, trigger).await.unwrap();
    }
    // One of each source before the second of any, and no more than the cap.
    let names = |connections: &[&ConnectionId]| -> Vec<String> {
        connections.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        base.due(2, 100).await,
        names(&[&blocked[0], &other[0], &blocked[1], &other[1]])
    );
    assert_eq!(base.due(2, 2).await, names(&[&blocked[0], &other[0]]));

    // Running ones count, and one that is queued behind a running one does not.
    for connection in &blocked[..2] {
        base.db.claim_pull(*connection, "w").await.unwrap();
        let trigger = Trigger::Manual;
        base.db.request_pull(*connection, trigger).await.unwrap();
    }
    assert_eq!(base.due(2, 100).await, names(&[&other[0], &other[1]]));
    assert_eq!(
        base.due(3, 100).await,
        names(&[&blocked[2], &other[0], &other[1], &other[2]])
    );
}

async fn a_source_has_no_more_pulls_at_work_than_it_bears(database: TestDb) {
    let base = Base::new(database).await;
    let db = &base.db;
    let connections = base.connections("narrow", 6).await;
    let source = db.source("narrow").await.unwrap().id;
    let at_most = |pulls| SourceChange {
        concurrent_pulls: Some(pulls),
        ..SourceChange::default()
    };
    db.change_source(source, at_most(Some(2))).await.unwrap();
    let mut pulls = Vec::new();
    for connection in &connections {
        pulls.push(db.request_pull(*connection, Trigger::Manual).await.unwrap());
    }
    assert_eq!(base.due(5, 100).await.len(), 2);
    // Whoever claims past Dispatch does not get one more either.
    let claims = connections.iter().map(|of| db.claim_pull(*of, "w"));
    let claimed = futures::future::join_all(claims).await;
    let claimed: Vec<PullId> = claimed.into_iter().filter_map(|of| of.unwrap()).collect();
    assert_eq!(claimed.len(), 2);
    assert!(base.due(5, 100).await.is_empty());
    let waiting: Vec<&PullId> = pulls.iter().filter(|of| !claimed.contains(of)).collect();
    let queue = db.pull_queue(*waiting[1]).await.unwrap().unwrap();
    let expected = PullQueue {
        ahead: 1,
        at_work: 2,
        behind: None,
    };
    assert_eq!(queue, expected);
    assert_eq!(db.pull_queue(claimed[0]).await.unwrap(), None);

    // One behind another of its connection follows that, and waits for a place too.
    let first = db.pull(claimed[0]).await.unwrap().connection_id;
    let next = db.request_pull(first, Trigger::Manual).await.unwrap();
    let queue = db.pull_queue(next).await.unwrap().unwrap();
    assert_eq!(queue.behind, Some(claimed[0]));
    db.end_pull(claimed[0], RunState::Failed, "x")
        .await
        .unwrap();
    assert_eq!(base.due(5, 100).await.len(), 1);
    let other = db.pull(*waiting[0]).await.unwrap().connection_id;
    assert_eq!(db.claim_pull(other, "w").await.unwrap(), Some(*waiting[0]));
    assert_eq!(db.claim_pull(first, "w").await.unwrap(), None);
    // An attempt that repeats still gets the pull it had.
    assert_eq!(db.claim_pull(other, "w").await.unwrap(), Some(*waiting[0]));
    db.change_source(source, at_most(None)).await.unwrap();
    assert_eq!(db.claim_pull(first, "w").await.unwrap(), Some(next));
}

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

async fn only_what_did_not_get_everything_is_retried(database: TestDb) {
    let base = Base::new(database).await;
    let (db, connection) = (&base.db, base.connections("a", 1).await[0]);
    let asked = db.request_pull(connection, Trigger::Manual).await.unwrap();
    assert!(matches!(
        db.retry_pull(asked).await,
        Err(Error::Conflict { .. })
    ));
    db.end_pull(asked, RunState::Failed, "x").await.unwrap();
    let retry = db.retry_pull(asked).await.unwrap();
    let retried = db.pull(retry).await.unwrap();
    assert_eq!(retried.retry_of, Some(asked));
    assert_eq!(retried.triggers[0].reason, Trigger::Retry);
    assert_eq!(db.retry_pull(asked).await.unwrap(), retry);
}

async fn a_watermark_goes_on_and_is_forgotten(database: TestDb) {
    let base = Base::new(database).await;
    let (db, connection) = (&base.db, base.connections("a", 1).await[0]);
    let settle = async |whole: Option<&str>, had_to: Option<i64>| {
        db.request_pull(connection, Trigger::Manual).await.unwrap();
        let change = WatermarkChange {
            whole: whole.map(str::to_owned),
            had_to: had_to.map(Timestamp),
        };
        base.settled_with(connection, HeldChange::Replace(None), change)
            .await;
        let known = db.type_watermarks(connection).await.unwrap();
        known.get("Condition").cloned()
    };
    // Of what was never had whole there is none.
    assert_eq!(settle(None, Some(5)).await, None);
    let first = settle(Some("one"), Some(5)).await.unwrap();
    assert_eq!(
        (first.plan_hash.as_str(), first.had_to),
        ("one", Some(Timestamp(5)))
    );
    // Changes bring it further, and leave when it was had whole and how.
    let further = settle(None, Some(9)).await.unwrap();
    assert_eq!(further.had_to, Some(Timestamp(9)));
    assert_eq!(further.completed_at, first.completed_at);
    let forgotten = settle(None, None).await.unwrap();
    assert_eq!(
        (forgotten.plan_hash.as_str(), forgotten.had_to),
        ("one", None)
    );
    let whole = settle(Some("two"), Some(12)).await.unwrap();
    assert!(whole.completed_at > first.completed_at);
    db.reconnect(connection, Some("t"), None).await.unwrap();
    let known = db.type_watermarks(connection).await.unwrap();
    assert_eq!(known["Condition"].had_to, None);
    assert!(db.held_types(connection).await.unwrap().is_empty());
}

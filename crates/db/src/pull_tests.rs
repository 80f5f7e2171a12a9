//! What the database decides for pulls: slots, whose turn it is, held deletions.

mod held;
mod slots;

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
    each_source_has_its_turn,
    a_source_has_no_more_pulls_at_work_than_it_bears,
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
        due.into_iter().map(|due| due.run.subject_id).collect()
    }

    /// How many pulls of a connection's source are at work at once, once it is started.
    async fn at_once(&self, per_source: u64, connection: ConnectionId) -> u64 {
        let due = self.db.due_pulls(per_source, 100).await.unwrap();
        let of = connection.to_string();
        let found = due.into_iter().find(|due| due.run.subject_id == of);
        found.unwrap().at_once
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
    // As many at once as there are, or as are let.
    assert_eq!(base.at_once(2, blocked[0]).await, 2);
    assert_eq!(base.at_once(9, other[0]).await, 3);

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
    base.db.claim_pull(other[0], "w").await.unwrap();
    assert_eq!(base.at_once(9, other[1]).await, 3);
    assert_eq!(base.at_once(9, blocked[2]).await, 9);
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
    assert_eq!(base.at_once(5, connections[0]).await, 2);
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

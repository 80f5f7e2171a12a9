//! What the database decides of schedules: who is due, when, and once.

mod looks;

use model::{ConnectionId, PullId, RunState, SourceId, Timestamp, Trigger};

use crate::testing::TestDb;
use crate::{ConnectionChange, Db, Error, NewConnection, NewSource, SourceChange};

const HOUR: u32 = 3_600;

crate::on_both!(
    a_connection_is_due_when_its_interval_has_passed,
    who_may_not_be_pulled_is_not_due,
    a_connection_has_an_interval_of_its_own_or_none,
    a_due_connection_is_queued_once,
    any_pull_puts_the_next_one_off,
);

/// Connections to one source.
struct Base {
    db: Db,
    connections: Vec<ConnectionId>,
    _database: TestDb,
}

impl Base {
    async fn new(database: TestDb, count: usize) -> Self {
        let mut base = Self {
            db: database.db.clone(),
            connections: Vec::new(),
            _database: database,
        };
        base.connect("portal", count).await;
        base
    }

    /// Adds a source, and connections to it.
    async fn connect(&mut self, name: &str, count: usize) -> SourceId {
        let (base_url, identity) = (format!("https://{name}/fhir"), format!("{name}/fhir"));
        let source = NewSource::new(name, &base_url, &identity);
        let source_id = self.db.add_source(&source).await.unwrap();
        for number in 0..count {
            let new = NewConnection {
                patient_id: self.db.ensure_patient(&number.to_string()).await.unwrap(),
                source_id,
                source_patient_id: number.to_string(),
                token: None,
            };
            self.connections
                .push(self.db.add_connection(&new).await.unwrap());
        }
        source_id
    }

    async fn every(&self, seconds: Option<u32>) {
        let change = SourceChange {
            pull_interval_s: Some(seconds),
            ..SourceChange::default()
        };
        let source = self.db.source("portal").await.unwrap();
        self.db.change_source(source.id, change).await.unwrap();
    }

    async fn change(&self, at: usize, change: ConnectionChange<'_>) {
        let id = self.connections[at];
        self.db.change_connection(id, change).await.unwrap();
    }

    /// Makes as if the last pull of a connection had been queued so long ago.
    async fn pulled_ago(&self, at: usize, seconds: i64) {
        sqlx::query("UPDATE connections SET last_pull_at = $1 WHERE id = $2")
            .bind(Timestamp::now().0 - seconds * 1_000_000)
            .bind(self.connections[at].to_string())
            .execute(&self.db.writer)
            .await
            .unwrap();
    }

    async fn queue(&self) -> u64 {
        self.db.queue_scheduled_pulls(100).await.unwrap().queued
    }

    async fn next(&self, at: usize) -> Option<Timestamp> {
        let summary = self.db.connection_summary(self.connections[at]).await;
        summary.unwrap().next_pull_at
    }

    /// The queued pull of a connection ends.
    async fn end(&self, at: usize) -> PullId {
        let claimed = self.db.claim_pull(self.connections[at], "w").await;
        let pull = claimed.unwrap().unwrap();
        let ended = self.db.end_pull(pull, RunState::Failed, "test");
        ended.await.unwrap();
        pull
    }
}

async fn a_connection_is_due_when_its_interval_has_passed(database: TestDb) {
    let base = Base::new(database, 50).await;
    let hour = i64::from(HOUR);
    // Nothing is scheduled, however long ago the last pull was.
    for at in 0..50 {
        base.pulled_ago(at, 100 * hour).await;
    }
    assert_eq!((base.queue().await, base.next(0).await), (0, None));
    base.every(Some(HOUR)).await;
    for at in 0..50 {
        base.pulled_ago(at, hour * 89 / 100).await;
    }
    assert_eq!(base.queue().await, 0);
    let now = Timestamp::now();
    let mut next = Vec::new();
    for at in 0..50 {
        let at = base.next(at).await.unwrap();
        let left = at.since(now).as_secs();
        assert!((30..=400).contains(&left), "{left}");
        next.push(left / 10);
    }
    // They do not come all at once.
    next.sort_unstable();
    next.dedup();
    assert!(next.len() > 10, "{next:?}");
    for at in 0..50 {
        base.pulled_ago(at, hour * 95 / 100).await;
    }
    let early = base.queue().await;
    assert!((5..=45).contains(&early), "{early}");
    for at in 0..50 {
        base.pulled_ago(at, hour).await;
    }
    assert_eq!(base.queue().await, 50 - early);
}

async fn who_may_not_be_pulled_is_not_due(database: TestDb) {
    let base = Base::new(database, 4).await;
    base.every(Some(HOUR)).await;
    for at in 0..4 {
        base.pulled_ago(at, i64::from(2 * HOUR)).await;
    }
    let pause = |enabled| ConnectionChange {
        enabled: Some(enabled),
        ..ConnectionChange::default()
    };
    base.change(0, pause(false)).await;
    let db = &base.db;
    db.revoke_connection(base.connections[1]).await.unwrap();
    db.set_needs_reconnect(base.connections[2], "unauthorized")
        .await
        .unwrap();
    for at in 0..3 {
        assert_eq!(base.next(at).await, None);
    }
    assert!(base.next(3).await.unwrap() <= Timestamp::now());
    let disabled = SourceChange {
        enabled: Some(false),
        ..SourceChange::default()
    };
    let source = db.source("portal").await.unwrap().id;
    db.change_source(source, disabled).await.unwrap();
    assert_eq!((base.queue().await, base.next(3).await), (0, None));
    let enabled = SourceChange {
        enabled: Some(true),
        ..SourceChange::default()
    };
    db.change_source(source, enabled).await.unwrap();
    assert_eq!(base.queue().await, 1);
    // One that may be pulled again is due at once.
    base.change(0, pause(true)).await;
    db.reconnect(base.connections[2], Some("t"), None)
        .await
        .unwrap();
    assert_eq!(base.queue().await, 2);
}

async fn a_connection_has_an_interval_of_its_own_or_none(database: TestDb) {
    let base = Base::new(database, 3).await;
    base.every(Some(24 * HOUR)).await;
    let own = |every| ConnectionChange {
        pull_interval_s: Some(every),
        ..ConnectionChange::default()
    };
    base.change(0, own(Some(HOUR))).await;
    base.change(1, own(Some(0))).await;
    for at in 0..3 {
        base.pulled_ago(at, i64::from(2 * HOUR)).await;
    }
    assert_eq!(base.next(1).await, None);
    assert!(base.next(2).await.unwrap() > Timestamp::now());
    assert_eq!(base.queue().await, 1);
    base.end(0).await;
    // The source's own interval holds again, and that of nobody.
    base.change(0, own(None)).await;
    base.pulled_ago(0, i64::from(2 * HOUR)).await;
    base.pulled_ago(1, i64::from(200 * HOUR)).await;
    assert_eq!(base.queue().await, 0);
    base.every(None).await;
    assert_eq!(base.next(0).await, None);
    base.change(1, own(Some(HOUR))).await;
    assert_eq!(base.queue().await, 1);
    let seen = base.db.connection_summary(base.connections[1]).await;
    let seen = seen.unwrap();
    assert_eq!(seen.pull_interval_s, Some(HOUR));
    let late = ConnectionChange {
        seen: Some(&seen),
        ..own(Some(0))
    };
    base.change(1, late).await;
    let changed = base.db.change_connection(base.connections[1], late).await;
    assert!(matches!(changed, Err(Error::Changed)));
}

async fn a_due_connection_is_queued_once(database: TestDb) {
    let base = Base::new(database, 1).await;
    base.every(Some(HOUR)).await;
    base.pulled_ago(0, i64::from(9 * HOUR)).await;
    let twice = [base.queue(), base.queue(), base.queue()];
    let queued: u64 = futures::future::join_all(twice).await.into_iter().sum();
    assert_eq!(queued, 1);
    let pulls = base.db.pulls(None, None, 9).await.unwrap();
    let pull = base.db.pull(pulls[0].id).await.unwrap();
    assert_eq!(pulls.len(), 1);
    assert_eq!(pull.triggers[0].reason, Trigger::Scheduled);
    assert!(!pull.full);
    // Not while it is queued, nor while it is running.
    base.pulled_ago(0, i64::from(9 * HOUR)).await;
    assert_eq!(base.queue().await, 0);
    let claimed = base.db.claim_pull(base.connections[0], "w").await;
    assert_eq!(claimed.unwrap(), Some(pull.id));
    assert_eq!(base.queue().await, 0);
    base.end(0).await;
    assert_eq!(base.queue().await, 1);
}

async fn any_pull_puts_the_next_one_off(database: TestDb) {
    let base = Base::new(database, 1).await;
    base.every(Some(HOUR)).await;
    let connection = base.connections[0];
    // Before its first pull the interval counts from when it was added.
    assert!(base.next(0).await.unwrap() > Timestamp::now());
    base.pulled_ago(0, i64::from(9 * HOUR)).await;
    let full = base
        .db
        .request_full_pull(connection, Trigger::Manual)
        .await
        .unwrap();
    // Whoever joins does not take that back.
    let joined = base.db.request_pull(connection, Trigger::Manual).await;
    assert_eq!(joined.unwrap(), full);
    assert!(base.db.pull(full).await.unwrap().full);
    assert!(base.next(0).await.unwrap() > Timestamp::now());
    assert_eq!(base.end(0).await, full);
    assert_eq!(base.queue().await, 0);
    // What makes up for one that was to ask for everything does so too.
    let retry = base.db.retry_pull(full).await.unwrap();
    assert!(base.db.pull(retry).await.unwrap().full);
}

//! What one look at the schedules takes, and that it does not read all that there are.
//! `CHARTLIFT_TEST_SCHEDULES` says how many these are; the test prints how long looks take.

use std::time::{Duration, Instant};

use model::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Base, HOUR};
use crate::row::Columns;
use crate::schedules::due;
use crate::testing::TestDb;
use crate::{Db, SourceChange, on_both};

/// What a look may take.
const LIMIT: u32 = 100;

on_both!(
    a_look_is_bounded_and_takes_the_longest_overdue,
    a_look_does_not_read_all_that_there_are,
);

/// Neither a source with very many, nor one that is disabled, keeps the others waiting.
async fn a_look_is_bounded_and_takes_the_longest_overdue(database: TestDb) {
    let mut base = Base::new(database, 25).await;
    let few = base.connect("few", 3).await;
    let off = base.connect("off", 20).await;
    let hourly = SourceChange {
        pull_interval_s: Some(Some(HOUR)),
        ..SourceChange::default()
    };
    base.every(Some(HOUR)).await;
    base.db.change_source(few, hourly).await.unwrap();
    let disabled = SourceChange {
        enabled: Some(false),
        ..hourly
    };
    base.db.change_source(off, disabled).await.unwrap();
    // Half an hour apart, which is more than ids can make: of `few` two are among the
    // first ten, and one is the last.
    let hour = i64::from(HOUR);
    for at in 0..25 {
        base.pulled_ago(at, (60 - at as i64) * hour).await;
    }
    for (at, halves) in [(25, 111), (26, 109), (27, 4)] {
        base.pulled_ago(at, halves * hour / 2).await;
    }
    for at in 28..48 {
        base.pulled_ago(at, 500 * hour).await;
    }
    let mut taken = Vec::new();
    for expected in [(10, true), (10, true), (8, false), (0, false)] {
        let look = base.db.queue_scheduled_pulls(10).await.unwrap();
        assert_eq!((look.queued, look.is_full), expected);
        let mut new: Vec<usize> = Vec::new();
        for pull in base.db.pulls(None, None, 100).await.unwrap() {
            let at = base
                .connections
                .iter()
                .position(|id| *id == pull.connection_id);
            new.extend(at.filter(|at| !taken.contains(at)));
        }
        taken.extend(new);
    }
    let of_few = |at: usize| taken.iter().position(|taken| *taken == at).unwrap() / 10;
    assert_eq!([25, 26, 27].map(of_few), [0, 0, 2]);
    // One that is enabled again is looked at at once.
    let enabled = SourceChange {
        enabled: Some(true),
        ..SourceChange::default()
    };
    base.db.change_source(off, enabled).await.unwrap();
    assert_eq!(base.queue().await, 20);
}

fn count() -> i64 {
    let given = std::env::var("CHARTLIFT_TEST_SCHEDULES").ok();
    given.map_or(1_000, |text| text.parse().expect("a number"))
}

async fn execute(db: &Db, text: &str) {
    let text = AssertSqlSafe(text.to_owned());
    sqlx::query(text).execute(&db.writer).await.unwrap();
}

/// Copies the connection of `base` so often, with ids that differ in their last digits.
async fn multiply(base: &Base, count: i64) {
    let db = &base.db;
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}), \
         named AS (SELECT n, '019a00000000700080000000' || CAST(10000000 + n AS TEXT) AS digits FROM numbers)"
    );
    let patients = "SELECT 'pat_' || digits, digits, 0 FROM named";
    let connections = "SELECT 'con_' || digits, 'pat_' || digits, connections.source_id, connections.status, \
         connections.enabled, connections.source_patient_id_sealed, 0, 0, 0, 0, connections.created_at, \
         connections.created_at, connections.pull_every_s, n % 1000 FROM named, connections";
    execute(
        db,
        &format!("INSERT INTO patients (id, external_id, created_at) {numbers} {patients}"),
    )
    .await;
    execute(
        db,
        &format!(
            "INSERT INTO connections (id, patient_id, source_id, status, enabled, source_patient_id_sealed, log_version, \
             head_seq, pull_failures, pull_not_before, created_at, last_pull_at, pull_every_s, pull_share) \
             {numbers} {connections}"
        ),
    )
    .await;
}

/// Makes as if the last pulls had been queued so long ago.
async fn pulled_ago(db: &Db, which: &str, seconds: i64) {
    let then = Timestamp::now().0 - seconds * 1_000_000;
    let text = format!("UPDATE connections SET last_pull_at = {then} WHERE {which}");
    execute(db, &text).await;
}

/// How long a look at what is due takes, as the third of three, and what it sees.
async fn look(base: &Base, of: &str) -> (usize, Duration) {
    let mut seen = (0, Duration::ZERO);
    for _ in 0..3 {
        let started = Instant::now();
        let due = sqlx::query(AssertSqlSafe(due()))
            .bind(Timestamp::now().0)
            .bind(i64::from(LIMIT))
            .fetch_all(&base.db.reader)
            .await;
        seen = (due.unwrap().len(), started.elapsed());
    }
    println!("{of}: {} of {} due in {:?}", seen.0, count(), seen.1);
    seen
}

async fn a_look_does_not_read_all_that_there_are(database: TestDb) {
    let is_postgres = crate::postgres::is_postgres(&database.url);
    let base = Base::new(database, 1).await;
    base.every(Some(HOUR)).await;
    multiply(&base, count()).await;
    let db = &base.db;
    if is_postgres {
        execute(db, "ANALYZE").await;
    }
    pulled_ago(db, "pull_every_s > 0", 60).await;
    assert_eq!(look(&base, "none due").await.0, 0);
    pulled_ago(db, "pull_share = 7", i64::from(2 * HOUR)).await;
    let few = look(&base, "few due").await.0;
    assert!((1..=LIMIT as usize).contains(&few), "{few}");
    pulled_ago(db, "pull_every_s > 0", i64::from(2 * HOUR)).await;
    assert_eq!(look(&base, "all due").await.0, LIMIT as usize);
    let started = Instant::now();
    let queued = db.queue_scheduled_pulls(LIMIT).await.unwrap();
    println!("a full look queues in {:?}", started.elapsed());
    assert_eq!((queued.queued, queued.is_full), (u64::from(LIMIT), true));
    let started = Instant::now();
    base.every(Some(2 * HOUR)).await;
    println!("a source's interval changes in {:?}", started.elapsed());
    assert_eq!(look(&base, "after a change").await.0, LIMIT as usize);
    // Every pull is open for longer than the interval: they are passed over.
    execute(
        db,
        "INSERT INTO pulls (id, connection_id, kind, state, phase, pages, counts, created_at, updated_at) \
         SELECT 'pul_' || substr(connections.id, 5), connections.id, 'fetch', 'running', 'working', 0, '{}', 0, 0 \
         FROM connections",
    )
    .await;
    if is_postgres {
        execute(db, "ANALYZE").await;
    }
    assert_eq!(look(&base, "all overdue at work").await.0, 0);
    if !is_postgres {
        let text = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", due()));
        let plan = sqlx::query(text).bind(0_i64).bind(1_i64);
        let steps = plan.fetch_all(&db.reader).await.unwrap();
        let steps: Vec<String> = steps
            .iter()
            .map(|row| row.text("detail").unwrap())
            .collect();
        let plan = steps.join("; ");
        assert!(plan.contains("INDEX connections_due"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

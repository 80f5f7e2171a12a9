//! Asking, claiming, saving, settling, merging.

mod held;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures::future::join_all;
use model::{BatchId, PullCounts, PullId, RunState, Trigger};

use super::{Scene, step};
use crate::testing::TestDb;
use crate::{
    Db, Error, HeldChange, MergeCommit, NewBatch, NewStaging, Result, RunKind, SettleCommit,
    StepClaim,
};

crate::on_both!(
    a_hundred_requests_are_one_run_and_one_behind_it,
    of_two_workflows_one_has_the_pull,
    of_two_attempts_one_saves,
    of_two_attempts_one_settles,
    settle_and_merge_do_not_both_swap_the_head,
    nothing_is_staged_behind_a_settle,
    a_subject_has_no_more_slots_than_its_share,
);

/// Settles a pull with a batch on top of the log as `log_version` says.
pub(super) async fn settle(
    db: &Db,
    scene: &Scene,
    pull: PullId,
    token: &str,
    log_version: u64,
    held: HeldChange,
) -> Result<()> {
    let step = step(RunKind::Pull, &pull, "settle");
    let seq = log_version + 1;
    let id = BatchId::new();
    let commit = SettleCommit {
        connection_id: scene.connection,
        pull_id: pull,
        step: &step,
        token,
        log_version,
        settle_seq: seq,
        batch: Some(NewBatch {
            id,
            seq,
            object_key: format!("batch-{id}"),
            index_key: format!("index-{id}"),
            row_count: 1,
            deleted_count: 0,
            size_bytes: 1,
        }),
        types: BTreeMap::new(),
        counts: PullCounts::default(),
        attachments: None,
        state: RunState::Completed,
        watermarks: BTreeMap::new(),
        held,
        error_code: None,
        receipt: &(),
    };
    db.commit_settle(&commit).await
}

/// A pull that is about to settle, and the token of its settle step.
pub(super) async fn settling(scene: &Scene) -> (PullId, String) {
    let db = &scene.db;
    db.request_pull(scene.connection, Trigger::Manual)
        .await
        .unwrap();
    let pull = db.claim_pull(scene.connection, "w").await.unwrap().unwrap();
    db.begin_settle(pull).await.unwrap();
    let token = scene.claim(&step(RunKind::Pull, &pull, "settle")).await;
    (pull, token)
}

pub(super) const NOTHING_HELD: HeldChange = HeldChange::Replace(None);

async fn a_hundred_requests_are_one_run_and_one_behind_it(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, connection) = (&scene.db, scene.connection);
    let ask = || async { db.request_pull(connection, Trigger::Manual).await.unwrap() };
    let first: HashSet<PullId> = join_all((0..100).map(|_| ask()))
        .await
        .into_iter()
        .collect();
    assert_eq!(first.len(), 1);
    // While one is claimed, those who ask get it or the one behind it.
    let claims = join_all((0..5).map(|_| db.claim_pull(connection, "w")));
    let (asked, claimed) = tokio::join!(join_all((0..100).map(|_| ask())), claims);
    let asked: HashSet<PullId> = asked.into_iter().collect();
    assert!(asked.len() <= 2, "{asked:?}");
    for pull in claimed {
        assert_eq!(pull.unwrap(), first.iter().next().copied());
    }
    let last = ask().await;
    assert_ne!(Some(&last), first.iter().next());
    assert_eq!(scene.count("pulls WHERE state = 'running'").await, 1);
    assert_eq!(scene.count("pulls WHERE state = 'queued'").await, 1);
    let reasons = "SELECT CAST(SUM(count) AS BIGINT) FROM run_triggers";
    assert_eq!(scene.number(reasons).await, 201);
}

async fn of_two_workflows_one_has_the_pull(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, connection) = (&scene.db, scene.connection);
    for _ in 0..10 {
        let pull = db.request_pull(connection, Trigger::Manual).await.unwrap();
        let (one, two) = tokio::join!(
            db.claim_pull(connection, "one"),
            db.claim_pull(connection, "two")
        );
        // The second takes the run over: whoever holds the workflow's id is alone.
        assert_eq!((one.unwrap(), two.unwrap()), (Some(pull), Some(pull)));
        let open = db.still_runs(Duration::ZERO, 10).await.unwrap();
        assert_eq!(open.len(), 1);
        // It is put back once, and only as the workflow's that has it.
        let mut other = open[0].clone();
        other.workflow_run_id = if other.workflow_run_id == "one" {
            "two"
        } else {
            "one"
        }
        .into();
        let (mine, lost, asked) = tokio::join!(
            db.requeue_run(&open[0]),
            db.requeue_run(&other),
            db.request_pull(connection, Trigger::Manual)
        );
        mine.unwrap();
        lost.unwrap();
        let asked = asked.unwrap();
        assert_eq!(scene.count("pulls WHERE state = 'running'").await, 0);
        assert_eq!(scene.count("pulls WHERE state = 'queued'").await, 1);
        db.end_pull(asked, RunState::Failed, "x").await.unwrap();
        db.end_pull(pull, RunState::Failed, "x").await.unwrap();
    }
}

async fn of_two_attempts_one_saves(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    db.request_pull(scene.connection, Trigger::Manual)
        .await
        .unwrap();
    let pull = db.claim_pull(scene.connection, "w").await.unwrap().unwrap();
    let step = step(RunKind::Pull, &pull, "pages-0");
    for _ in 0..10 {
        let (one, two) = tokio::join!(scene.claim(&step), scene.claim(&step));
        let (one, two) = tokio::join!(
            db.save_pull_step(&step, &one, b"one", &[], None::<&()>),
            db.save_pull_step(&step, &two, b"two", &[], None::<&()>)
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert!(matches!(one.and(two), Err(Error::Lost)));
    }
}

async fn of_two_attempts_one_settles(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    for round in 0..10 {
        let (pull, first) = settling(&scene).await;
        let step = step(RunKind::Pull, &pull, "settle");
        let (late, claimed) = tokio::join!(
            settle(db, &scene, pull, &first, round, NOTHING_HELD),
            db.claim_step::<()>(&step)
        );
        match claimed.unwrap() {
            // The new attempt has the step: the one before is cut off.
            StepClaim::Mine { token, .. } => {
                assert!(matches!(late, Err(Error::Lost)), "{late:?}");
                let settled = settle(db, &scene, pull, &token, round, NOTHING_HELD).await;
                settled.unwrap();
            }
            StepClaim::Done(()) => late.unwrap(),
        }
        let batches = i64::try_from(round).unwrap() + 1;
        assert_eq!(scene.count("batches").await, batches);
    }
}

async fn settle_and_merge_do_not_both_swap_the_head(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    let mut log_version = 0;
    for _ in 0..10 {
        let (pull, token) = settling(&scene).await;
        let id = BatchId::new();
        let merge = MergeCommit {
            connection_id: scene.connection,
            log_version,
            id,
            seq: log_version,
            settle_seq: log_version,
            object_key: format!("merged-{id}"),
            index_key: format!("index-merged-{id}"),
            row_count: 1,
            deleted_count: 0,
            size_bytes: 1,
        };
        let (settled, merged) = tokio::join!(
            settle(db, &scene, pull, &token, log_version, NOTHING_HELD),
            db.commit_merge(&merge)
        );
        assert!(settled.is_ok() != merged.is_ok(), "{settled:?} {merged:?}");
        assert!(matches!(settled.and(merged), Err(Error::LogMoved)));
        log_version += 1;
        let head = db.log_head(scene.connection).await.unwrap();
        assert_eq!(head.log_version, log_version);
        // It settled, or would have to read again.
        db.end_pull(pull, RunState::Failed, "x").await.unwrap();
    }
}

async fn nothing_is_staged_behind_a_settle(database: TestDb) {
    let scene = &Scene::new(database).await;
    let db = &scene.db;
    for _ in 0..10 {
        db.request_pull(scene.connection, Trigger::Manual)
            .await
            .unwrap();
        let pull = db.claim_pull(scene.connection, "w").await.unwrap().unwrap();
        let lanes = (0..4).map(|lane| async move {
            let step = step(RunKind::Pull, &pull, &format!("pages-{lane}"));
            let token = scene.claim(&step).await;
            for ordinal in 0..50 {
                let object = NewStaging {
                    ordinal,
                    object_key: format!("{pull}-{lane}-{ordinal}"),
                    row_count: 1,
                    size_bytes: 1,
                };
                let saved = db
                    .save_pull_step(&step, &token, b"p", &[object], None::<&()>)
                    .await;
                match saved {
                    Ok(()) => {}
                    Err(Error::Lost) => return,
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        let settle = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            db.begin_settle(pull).await.unwrap();
            db.staging(pull).await.unwrap().len()
        };
        let (_, seen) = tokio::join!(join_all(lanes), settle);
        assert_eq!(db.staging(pull).await.unwrap().len(), seen);
        db.end_pull(pull, RunState::Failed, "x").await.unwrap();
    }
}

async fn a_subject_has_no_more_slots_than_its_share(database: TestDb) {
    let db = &database.db;
    for round in 0..5 {
        let subject = format!("source-{round}");
        let holders = (0..20).map(|holder| format!("holder-{holder}"));
        let taken = holders.map(|holder| {
            let subject = &subject;
            async move {
                let term = Duration::from_secs(40);
                db.take_slot(subject, 5, &holder, term).await.unwrap()
            }
        });
        let taken = join_all(taken).await;
        assert_eq!(taken.iter().flatten().count(), 5);
    }
}

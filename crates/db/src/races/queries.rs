//! Every query at least once on both databases, on rows that fill its columns: what
//! one of them types more strictly is found here.

mod exports;

use std::time::Duration;

use model::{ConnectionId, ConnectionStatus, RunState, SourceId, Strategy, Timestamp, Trigger};

use super::exports::planned;
use super::pulls::{NOTHING_HELD, settle, settling};
use super::{Scene, step};
use crate::testing::TestDb;
use crate::{
    BackOff, ConnectionChange, Db, Error, RunKind, Source, SourceChange, SourceLimits, StepRef,
};

crate::on_both!(
    all_that_is_asked_of_pulls_and_logs,
    all_that_ends_a_run_early,
);

async fn all_that_is_asked_of_pulls_and_logs(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, connection) = (&scene.db, scene.connection);
    let (pull, token) = settling(&scene).await;
    let object = "held".to_owned();
    let held = crate::NewHold {
        object_key: object,
        types: [("Condition".to_owned(), 3)].into(),
        head_seq: 0,
    };
    let held = crate::HeldChange::Replace(Some(held));
    settle(db, &scene, pull, &token, 0, held).await.unwrap();
    assert_eq!(db.pull(pull).await.unwrap().batch_seq, Some(1));
    assert_eq!(db.pulls(Some(connection), None, 5).await.unwrap().len(), 1);
    assert!(db.pulls(None, Some(pull), 5).await.unwrap().is_empty());
    assert!(db.pull_types(pull).await.unwrap().is_empty());
    let run = pull.to_string();
    let receipts = db.step_receipts::<()>(&run, "settle").await.unwrap();
    assert_eq!(receipts, [("settle".to_owned(), ())]);
    assert_eq!(
        db.pull_accounts(None, 5).await.unwrap()[0].batch_rows,
        Some((1, 0))
    );
    assert!(db.pull_state(connection, pull).await.unwrap().is_some());
    assert!(db.state_of_pull(connection, pull).await.unwrap().is_some());
    assert!(!db.has_open_pull(connection).await.unwrap());
    assert!(db.has_connection(connection).await.unwrap());
    assert!(db.is_held(pull).await.unwrap());
    assert_eq!(db.held_objects(None, 5).await.unwrap()[0].row_count, 3);

    assert_eq!(db.batches(connection, 0, 1).await.unwrap().len(), 1);
    let log = db.log_state(connection).await.unwrap().unwrap();
    assert_eq!((log.batches.len(), log.head_seq), (1, 1));
    assert_eq!(db.log_version(connection).await.unwrap(), Some(1));
    assert_eq!(db.log_heads(None, 5).await.unwrap(), [(connection, 1)]);
    assert!(db.log_jumps(connection).await.unwrap().is_empty());
    assert_eq!(db.connection_ids(None, 5).await.unwrap(), [connection]);
    assert_eq!(
        db.stored_names(connection).await.unwrap().unwrap().head_seq,
        1
    );
    assert_eq!(db.named_objects(connection).await.unwrap().len(), 3);
    assert!(
        db.superseded_objects(Timestamp::now(), 5)
            .await
            .unwrap()
            .is_empty()
    );
    db.forget_superseded("none").await.unwrap();

    db.reserve_settle_block(50).await.unwrap();
    db.open_settle_block(0, 50).await.unwrap();
    assert_eq!(db.next_settle_seq().await.unwrap(), Some(1));
    assert_eq!(db.settle_block_end().await.unwrap(), 50);
    assert_eq!(db.settle_numbers().await.unwrap().known_end(), 50);

    assert_eq!(db.connections(None, 5).await.unwrap().len(), 1);
    let found = db.connection(connection).await.unwrap();
    assert_eq!((found.source_patient_id.as_str(), found.token), ("1", None));
    let change = ConnectionChange {
        enabled: Some(true),
        pull_interval_s: Some(Some(3_600)),
        seen: Some(&found.summary),
    };
    db.change_connection(connection, change).await.unwrap();
    let again = db.change_connection(connection, change).await;
    assert!(matches!(again, Err(Error::Changed)));
    assert_eq!(db.queue_scheduled_pulls(5).await.unwrap().queued, 0);
    db.set_needs_reconnect(connection, "unauthorized")
        .await
        .unwrap();
    let lost = db.connection(connection).await.unwrap().summary.status;
    assert_eq!(lost, ConnectionStatus::NeedsReconnect);
    db.reconnect(connection, Some("t"), None).await.unwrap();
    let found = db.connection(connection).await.unwrap();
    assert_eq!(found.token.as_deref(), Some("t"));
    assert_eq!(found.summary.status, ConnectionStatus::Active);
    assert_eq!(db.granted_scope(connection).await.unwrap(), None);
    let unknown = db.connection(ConnectionId::new()).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    all_that_is_asked_of_a_source(db).await;
    assert!(db.lease("x", "one", Duration::from_secs(9)).await.unwrap());
    assert!(!db.lease("x", "two", Duration::from_secs(9)).await.unwrap());
}

async fn all_that_is_asked_of_a_source(db: &Db) {
    let source = db.source("portal").await.unwrap();
    assert_eq!(db.sources().await.unwrap().len(), 1);
    let moved = SourceChange {
        base_url: Some("https://new/fhir"),
        requests_per_second: Some(Some(7)),
        concurrent_requests: Some(Some(3)),
        concurrent_pulls: Some(Some(2)),
        types: Some(None),
        attachments: None,
        strategy: Some(Strategy::Bulk),
        pull_interval_s: Some(Some(86_400)),
        enabled: Some(false),
        login: None,
        seen: Some(&source),
    };
    let day = Duration::from_secs(86_400);
    for learned in ["$export", "CarePlan"] {
        let noted = db.remember_source_plan(source.id, learned, b"{}", day);
        noted.await.unwrap();
    }
    db.change_source(source.id, moved).await.unwrap();
    // What it refused is forgotten with the strategy; how a type is asked for is not.
    let learned = db.source_plans(source.id).await.unwrap();
    assert_eq!(learned.into_keys().collect::<Vec<_>>(), ["CarePlan"]);
    let now = db.source("portal").await.unwrap();
    let limits = SourceLimits {
        requests_per_second: Some(7),
        concurrent_requests: Some(3),
        concurrent_pulls: Some(2),
    };
    assert_eq!(
        (now.limits, now.base_url.as_str(), now.enabled, now.strategy),
        (limits, "https://new/fhir", false, Strategy::Bulk)
    );
    assert_eq!(now.pull_interval_s, Some(86_400));
    // Whoever has not seen that changes nothing.
    let late = db.change_source(source.id, moved).await;
    assert!(matches!(late, Err(Error::Changed)));
    let enabled = SourceChange {
        enabled: Some(true),
        ..SourceChange::default()
    };
    db.change_source(source.id, enabled).await.unwrap();
    let then = db.source("portal").await.unwrap();
    assert_eq!(
        then,
        Source {
            enabled: true,
            ..now
        }
    );
    let unknown = db.change_source(SourceId::new(), enabled).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn all_that_ends_a_run_early(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, destination) = (&scene.db, scene.destination);
    let (pull, token) = settling(&scene).await;
    settle(db, &scene, pull, &token, 0, NOTHING_HELD)
        .await
        .unwrap();
    let back_off = BackOff::default();
    for (number, state) in [
        (1, RunState::Partial),
        (2, RunState::Failed),
        (3, RunState::Cancelled),
    ] {
        // Asked for by hand: nothing is left out any more.
        db.request_export(destination, Some(Trigger::Manual))
            .await
            .unwrap();
        let (plan, _) = planned(&scene, number).await;
        db.end_export(plan.export, state, Some("x"), back_off)
            .await
            .unwrap();
        let held = i64::from(state != RunState::Failed);
        assert_eq!(scene.count("holds").await, held, "{state:?}");
        assert!(
            db.due_destinations(Duration::ZERO)
                .await
                .unwrap()
                .is_empty()
        );
    }
    let last = db.exports(None, None, 1).await.unwrap().remove(0);
    let retry = db.retry_export(last.id).await.unwrap();
    assert_eq!(db.queued_runs(RunKind::Export, 5).await.unwrap().len(), 1);
    assert_eq!(db.request_full_export(destination).await.unwrap(), retry);
    db.request_cancel(RunKind::Export, &retry.to_string())
        .await
        .unwrap();
    let again = db.request_cancel(RunKind::Export, &retry.to_string()).await;
    assert!(matches!(again, Err(Error::Conflict { .. })));

    let pull = db
        .request_pull(scene.connection, Trigger::Manual)
        .await
        .unwrap();
    db.claim_pull(scene.connection, "w").await.unwrap();
    db.request_cancel(RunKind::Pull, &pull.to_string())
        .await
        .unwrap();
    let due = db.cancels_due(5).await.unwrap();
    assert_eq!(due.len(), 1);
    db.end_cancelled(&due[0]).await.unwrap();
    assert_eq!(db.pull(pull).await.unwrap().state, RunState::Cancelled);
    assert_eq!(db.open_run_count().await.unwrap(), 0);
    db.set_destination_enabled(destination, false)
        .await
        .unwrap();
    db.set_destination_enabled(destination, true).await.unwrap();
    assert_eq!(scene.count("marks").await, 1);
    let step = StepRef {
        name: "plan".to_owned(),
        ..step(RunKind::Pull, &pull, "")
    };
    let late = db.claim_step::<()>(&step).await;
    assert!(matches!(late, Err(Error::Lost)));
}

//! All that is asked of exports.

use std::time::Duration;

use model::{ExportCounts, ExportId, Part, RunState, Timestamp};

use crate::races::exports::{planned, publication};
use crate::races::pulls::{NOTHING_HELD, settle, settling};
use crate::races::{Scene, step};
use crate::testing::TestDb;
use crate::{BackOff, ChunkCommit, PublicationCommit, RunKind, UndecidedPlan};

crate::on_both!(all_that_is_asked_of_exports);

async fn all_that_is_asked_of_exports(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, destination) = (&scene.db, scene.destination);
    let (pull, token) = settling(&scene).await;
    settle(db, &scene, pull, &token, 0, NOTHING_HELD)
        .await
        .unwrap();
    assert_eq!(
        db.due_destinations(Duration::ZERO).await.unwrap(),
        [destination]
    );
    assert!(!db.is_idle().await.unwrap());
    let (plan, span) = planned(&scene, 1).await;
    let export = plan.export;
    assert_eq!(db.chunk_count(export).await.unwrap(), 1);
    assert_eq!(db.fixed_plan(export, &plan.plan_id).await.unwrap(), (1, 1));
    assert_eq!(
        db.chunk_spans(export, &plan.plan_id, 0)
            .await
            .unwrap()
            .len(),
        1
    );
    let chunk = step(RunKind::Export, &export, "chunk-0");
    let token = scene.claim(&chunk).await;
    db.save_chunk(&chunk, &token, &plan.plan_id, b"so far")
        .await
        .unwrap();
    // Failed first: a later attempt may still do it.
    db.fail_chunk(export, &plan.plan_id, 0, "encode")
        .await
        .unwrap();
    let (_, _, counts) = db.plan_results(export, &plan.plan_id).await.unwrap();
    assert_eq!((counts.planned, counts.failed), (1, 1));
    let part = Part {
        path: "a".to_owned(),
        resource_type: "Condition".to_owned(),
        deleted: false,
        row_count: 1,
        size_bytes: 9,
        sha256: "b".to_owned(),
    };
    let counts = ExportCounts {
        planned: 1,
        delivered: 1,
        ..ExportCounts::default()
    };
    let commit = ChunkCommit {
        export,
        plan_id: &plan.plan_id,
        chunk: 0,
        step: &chunk,
        token: &token,
        parts: &[part],
        spans: &[(scene.connection, counts)],
        receipt: &(),
    };
    db.finish_chunk(&commit).await.unwrap();
    let (parts, spans, _) = db.plan_results(export, &plan.plan_id).await.unwrap();
    assert_eq!((parts.len(), spans), (1, vec![span.clone()]));
    assert_eq!(
        db.written_parts(export, &plan.plan_id).await.unwrap().len(),
        1
    );

    let publish = step(RunKind::Export, &export, "publish-0");
    let token = scene.claim(&publish).await;
    db.begin_publish(export, &plan.plan_id).await.unwrap();
    let undecided = db.plan_at_commit(export).await.unwrap().unwrap();
    assert_eq!(db.decided_plan(&undecided).await.unwrap(), None);
    assert!(db.undecided_plan(destination, 1).await.unwrap().is_none());
    assert_eq!(
        db.published_state(&undecided).await.unwrap(),
        RunState::Completed
    );
    let mut made = publication(destination, plan, span);
    made.parts = parts;
    let commit = PublicationCommit {
        publication: &made,
        step: Some((&publish, token.as_str(), &())),
    };
    db.commit_publication(&commit).await.unwrap();
    assert_eq!(db.decided_plan(&undecided).await.unwrap(), Some(true));
    asked_of_a_finished(&scene, export, &undecided).await;
}

async fn asked_of_a_finished(scene: &Scene, export: ExportId, plan: &UndecidedPlan) {
    let (db, destination) = (&scene.db, scene.destination);
    assert_eq!(
        db.destination_progress(destination).await.unwrap().running,
        Some(export)
    );
    assert_eq!(db.running_runs().await.unwrap(), [export.to_string()]);
    db.end_export(export, RunState::Completed, None, BackOff::default())
        .await
        .unwrap();
    assert!(db.is_idle().await.unwrap());
    assert_eq!(db.export(export).await.unwrap().patients, 1);
    assert_eq!(
        db.exports(Some(destination), None, 5).await.unwrap().len(),
        1
    );
    assert!(db.exports(None, Some(export), 5).await.unwrap().is_empty());
    assert!(
        db.export_state(destination, export)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(db.publications(destination, 0, 5).await.unwrap().len(), 1);
    let account = &db.export_accounts(None, 5).await.unwrap()[0];
    assert_eq!(
        (account.stated, account.published_rows),
        (account.published, 1)
    );
    let states = db.destination_states().await.unwrap();
    assert_eq!(states[0].watermarks, [(scene.connection, 1)]);
    assert_eq!(plan.number, states[0].last_publication);
    let later = Timestamp::now().after(Duration::from_secs(1));
    assert!(db.exports_over(destination, later).await.unwrap()[&export]);
    assert_eq!(db.destinations().await.unwrap().len(), 1);
    assert_eq!(db.destination("lake").await.unwrap().id, destination);
    assert_eq!(db.tombstones_passed(scene.connection).await.unwrap(), 1);
    assert!(db.forget_details(later, 100).await.unwrap().0 > 0);
}

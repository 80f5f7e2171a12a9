//! Exports that end while an attempt of theirs publishes, and attempts that wake
//! too late: in every order, a publication counts once or not at all.

mod scene;

use std::time::Duration;

use db::RunKind;
use destination::Published;
use model::{ExportId, RunState, Trigger};

use crate::export_publish;
use crate::failure::Failure;
use crate::verify::tests::deployment::Bend;

use self::scene::Scene;

#[tokio::test]
async fn an_attempt_that_wakes_after_its_number_was_burnt_changes_nothing() {
    let scene = Scene::new().await;
    let (export, plan, wanted) = scene.cut_off().await;
    scene.close(export, RunState::Cancelled).await;
    let row = scene.ended(export, RunState::Cancelled).await;
    assert_eq!((row.publication_count, row.part_count), (0, 0));
    // Neither the attempt itself nor one that Temporal starts again.
    scene.wakes_too_late(&wanted).await;
    let again = export_publish::run(&scene.context, &scene.publishing(export, &plan)).await;
    assert!(matches!(again, Err(Failure::Lost)), "{again:?}");
    assert_eq!(scene.deliver("w").await, 2);
    scene.wakes_too_late(&wanted).await;
    scene.is_whole(&[true, false]).await;
}

#[tokio::test]
async fn an_export_cancelled_when_its_publication_stands_is_completed() {
    let scene = Scene::new().await;
    let (export, _, wanted) = scene.cut_off().await;
    let created = scene.deployment.files.publish(&wanted).await.unwrap();
    assert!(matches!(created, Published::Created));
    for _ in 0..2 {
        scene.close(export, RunState::Cancelled).await;
        let row = scene.ended(export, RunState::Completed).await;
        assert_eq!((row.publication_count, row.error_code), (1, None));
    }
    assert_eq!(scene.deliver("w").await, 2);
    scene.is_whole(&[false]).await;
}

#[tokio::test]
async fn an_export_that_lost_its_workflow_while_publishing_is_decided_by_the_next() {
    for stands in [true, false] {
        let scene = Scene::new().await;
        let (export, _, wanted) = scene.cut_off().await;
        let next = scene.claim("another").await;
        let row = scene.ended(export, RunState::Failed).await;
        assert_eq!(row.error_code.as_deref(), Some("publish_undecided"));
        if stands {
            scene.deployment.files.publish(&wanted).await.unwrap();
        }
        let plan = scene.plan(next).await.unwrap();
        assert_eq!((plan.number, plan.chunk_count), (2, u64::from(!stands)));
        scene.wakes_too_late(&wanted).await;
        scene.close(next, RunState::Cancelled).await;
        let row = scene.db().export(export).await.unwrap();
        if stands {
            assert_eq!((row.state, row.error_code), (RunState::Completed, None));
            scene.is_whole(&[false]).await;
        } else {
            assert_eq!(row.error_code.as_deref(), Some("publish_burnt"));
            scene.deliver("another").await;
            scene.is_whole(&[true, false]).await;
        }
    }
}

#[tokio::test]
async fn a_run_that_is_put_back_while_publishing_stays_undecided_when_cancelled() {
    let scene = Scene::new().await;
    let (export, _, wanted) = scene.cut_off().await;
    let open = scene.db().still_runs(Duration::ZERO, 10).await.unwrap();
    scene.db().requeue_run(&open[0]).await.unwrap();
    scene.ended(export, RunState::Queued).await;
    let id = export.to_string();
    let asked = scene.db().request_cancel(RunKind::Export, &id).await;
    asked.unwrap();
    let row = scene.ended(export, RunState::Failed).await;
    assert_eq!(row.error_code.as_deref(), Some("publish_undecided"));
    assert_eq!(scene.deliver("another").await, 2);
    scene.wakes_too_late(&wanted).await;
    scene.is_whole(&[true, false]).await;
}

#[tokio::test]
async fn a_run_is_taken_over_at_its_saved_steps() {
    let scene = Scene::new().await;
    let (export, plan, wanted) = scene.cut_off().await;
    let taken = scene.db().claim_export(scene.destination(), "another");
    assert_eq!(taken.await.unwrap(), Some(export));
    assert_eq!(scene.plan(export).await.unwrap(), plan);
    let receipt = scene.chunk(export, &plan).await;
    assert_eq!((receipt.parts, receipt.counts.delivered), (2, 2));
    // Cancelled before it publishes again, it still decides its number.
    scene.close(export, RunState::Cancelled).await;
    scene.ended(export, RunState::Cancelled).await;
    scene.wakes_too_late(&wanted).await;
    scene.deliver("another").await;
    scene.is_whole(&[true, false]).await;
}

#[tokio::test]
async fn a_publication_beyond_the_logs_is_not_taken_over() {
    let scene = Scene::new().await;
    let (export, _, mut newer) = scene.cut_off().await;
    newer.spans[0].to += 1;
    newer.export_id = ExportId::new();
    scene.deployment.files.publish(&newer).await.unwrap();
    scene.close(export, RunState::Cancelled).await;
    scene.ended(export, RunState::Failed).await;
    let export = scene.claim("w").await;
    let refused = scene.plan(export).await;
    assert!(
        matches!(
            refused,
            Err(Failure::Final {
                code: "database_restored",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_was_cancelled_waits_for_more_unless_somebody_has_asked() {
    let scene = Scene::new().await;
    let export = scene.claim("w").await;
    scene.plan(export).await.unwrap();
    scene.close(export, RunState::Cancelled).await;
    let due = async || scene.db().due_destinations(Duration::ZERO).await.unwrap();
    assert_eq!(due().await, []);
    let served = [("Patient", "person-0", 2)];
    scene
        .deployment
        .pull(0, &served, &[], Bend::default())
        .await;
    assert_eq!(due().await, [scene.destination()]);
    // With another run queued, a cancelled one holds nothing back from it.
    let export = scene.claim("w").await;
    let asked = scene
        .db()
        .request_export(scene.destination(), Some(Trigger::Manual));
    asked.await.unwrap();
    scene.close(export, RunState::Cancelled).await;
    assert_eq!(
        scene
            .db()
            .candidates(scene.destination(), model::ExportId::new(), 9)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_full_resend_leaves_an_export_of_the_old_epoch_without_effect() {
    let scene = Scene::new().await;
    let (export, plan, _) = scene.cut_off().await;
    let full = scene.db().request_full_export(scene.destination()).await;
    let full = full.unwrap();
    let done = export_publish::run(&scene.context, &scene.publishing(export, &plan)).await;
    assert!(done.unwrap().ours);
    scene.close(export, RunState::Completed).await;
    assert_eq!(
        scene.db().watermarks(scene.destination()).await.unwrap(),
        []
    );
    let claimed = scene.db().claim_export(scene.destination(), "w").await;
    assert_eq!(claimed.unwrap(), Some(full));
    let plan = scene.plan(full).await.unwrap();
    scene.chunk(full, &plan).await;
    export_publish::run(&scene.context, &scene.publishing(full, &plan))
        .await
        .unwrap();
    scene.close(full, RunState::Completed).await;
    assert!(scene.ended(full, RunState::Completed).await.full);
    scene.is_whole(&[false, false]).await;
    let retry = scene.db().retry_export(full).await;
    assert!(matches!(retry, Err(db::Error::Conflict { .. })));
}

#[tokio::test]
async fn a_full_resend_tells_what_has_gone_since_the_last_delivery() {
    let scene = Scene::new().await;
    assert_eq!(scene.deliver("w").await, 1);
    // Gone, and everything is sent again before the destination has heard of it.
    let served = [("Patient", "person-0", 1)];
    scene
        .deployment
        .pull(0, &served, &["o"], Bend::default())
        .await;
    let full = scene.db().request_full_export(scene.destination()).await;
    let full = full.unwrap();
    let claimed = scene.db().claim_export(scene.destination(), "w").await;
    assert_eq!(claimed.unwrap(), Some(full));
    let plan = scene.plan(full).await.unwrap();
    scene.chunk(full, &plan).await;
    export_publish::run(&scene.context, &scene.publishing(full, &plan))
        .await
        .unwrap();
    scene.close(full, RunState::Completed).await;
    let sent = scene.deployment.files.publication(2).await.unwrap();
    let parts = sent.unwrap().parts;
    let rows = |deleted: bool| -> u64 {
        let of = parts.iter().filter(|part| part.deleted == deleted);
        of.map(|part| part.row_count).sum()
    };
    assert_eq!((rows(false), rows(true)), (1, 1));
    scene.is_whole(&[false, false]).await;
}

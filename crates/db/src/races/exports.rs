//! Asking, publishing, taking over.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use model::{
    DestinationId, ExportCounts, ExportId, FileFormat, PUBLICATION_VERSION, Publication, RunState,
    Span, Trigger,
};

use super::pulls::{settle, settling};
use super::{Scene, step};
use crate::testing::TestDb;
use crate::{
    BackOff, Error, HeldChange, NewPlan, PlannedSpan, PublicationCommit, RunKind, StepRef,
};

crate::on_both!(
    a_hundred_requests_are_one_export_and_one_behind_it,
    a_reason_is_counted_once,
    publisher_and_adopter_take_over_once,
    a_mark_stands_while_something_is_lacking,
);

/// What a running export has planned.
pub(super) struct Planned {
    pub(super) export: ExportId,
    pub(super) plan_id: String,
    number: u64,
}

/// A running export that has planned all there is.
pub(super) async fn planned(scene: &Scene, number: u64) -> (Planned, Span) {
    let db = &scene.db;
    db.request_export(scene.destination, None).await.unwrap();
    let export = db.claim_export(scene.destination, "w").await.unwrap();
    let export: ExportId = export.unwrap();
    let plan = step(RunKind::Export, &export, "plan-0");
    let token = scene.claim(&plan).await;
    let candidates = db
        .candidates(scene.destination, ExportId::new(), 10)
        .await
        .unwrap();
    let candidate = candidates[0].clone();
    let span = Span {
        connection_id: candidate.connection_id,
        from: candidate.from_seq,
        to: candidate.to_seq,
        row_count: 1,
    };
    let new = NewPlan {
        plan_id: format!("plan_{number}"),
        number,
        epoch: 1,
        chunk_count: 1,
        spans: vec![PlannedSpan {
            candidate,
            chunk: 0,
        }],
    };
    db.save_plan(export, &plan, &token, &new, &())
        .await
        .unwrap();
    let planned = Planned {
        export,
        plan_id: new.plan_id,
        number,
    };
    (planned, span)
}

/// One that is about to publish it, with the token of its publish step.
async fn publishing(scene: &Scene, number: u64) -> (Publication, StepRef, String) {
    let (plan, span) = planned(scene, number).await;
    let publish = step(RunKind::Export, &plan.export, "publish-0");
    let token = scene.claim(&publish).await;
    let begun = scene.db.begin_publish(plan.export, &plan.plan_id).await;
    begun.unwrap();
    (publication(scene.destination, plan, span), publish, token)
}

pub(super) fn publication(destination_id: DestinationId, plan: Planned, span: Span) -> Publication {
    Publication {
        version: PUBLICATION_VERSION,
        destination_id,
        number: plan.number,
        export_id: plan.export,
        plan_id: plan.plan_id,
        epoch: 1,
        burnt: false,
        format: FileFormat::Parquet,
        published_at: String::new(),
        parts: Vec::new(),
        spans: vec![span],
        counts: ExportCounts {
            planned: 1,
            delivered: 1,
            ..ExportCounts::default()
        },
    }
}

async fn a_hundred_requests_are_one_export_and_one_behind_it(database: TestDb) {
    let scene = Scene::new(database).await;
    let (db, destination) = (&scene.db, scene.destination);
    let manual = Some(Trigger::Manual);
    let ask = || async { db.request_export(destination, manual).await.unwrap() };
    let first: HashSet<ExportId> = join_all((0..100).map(|_| ask()))
        .await
        .into_iter()
        .collect();
    assert_eq!(first.len(), 1);
    let claims = join_all((0..5).map(|_| db.claim_export(destination, "w")));
    let (asked, claimed) = tokio::join!(join_all((0..100).map(|_| ask())), claims);
    let asked: HashSet<ExportId> = asked.into_iter().collect();
    assert!(asked.len() <= 2, "{asked:?}");
    for export in claimed {
        assert_eq!(export.unwrap(), first.iter().next().copied());
    }
    ask().await;
    assert_eq!(scene.count("exports WHERE state = 'running'").await, 1);
    assert_eq!(scene.count("exports WHERE state = 'queued'").await, 1);
}

async fn a_reason_is_counted_once(database: TestDb) {
    let scene = Scene::new(database).await;
    for round in 0..10 {
        let (pull, token) = settling(&scene).await;
        let (settled, asked) = tokio::join!(
            settle(
                &scene.db,
                &scene,
                pull,
                &token,
                round,
                HeldChange::Replace(None)
            ),
            scene.db.request_export(scene.destination, None)
        );
        settled.unwrap();
        asked.unwrap();
    }
    let counted = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM (SELECT count FROM run_triggers \
         WHERE reason = 'pull_completed' UNION ALL SELECT count FROM pending_triggers \
         WHERE reason = 'pull_completed') AS reasons";
    assert_eq!(scene.number(counted).await, 10);
}

async fn publisher_and_adopter_take_over_once(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    for round in 0..10 {
        let (pull, token) = settling(&scene).await;
        settle(db, &scene, pull, &token, round, HeldChange::Replace(None))
            .await
            .unwrap();
        let (publication, step, token) = publishing(&scene, round + 1).await;
        let own = PublicationCommit {
            publication: &publication,
            step: Some((&step, token.as_str(), &())),
        };
        let adopted = PublicationCommit {
            publication: &publication,
            step: None::<(&StepRef, &str, &())>,
        };
        let again = db.claim_step::<()>(&step);
        let (own, one, two, again) = tokio::join!(
            db.commit_publication(&own),
            db.commit_publication(&adopted),
            db.commit_publication(&adopted),
            tokio::time::timeout(Duration::from_secs(5), again)
        );
        // The new attempt may have been first.
        assert!(matches!(own, Ok(()) | Err(Error::Lost)), "{own:?}");
        one.unwrap();
        two.unwrap();
        again.expect("no deadlock").unwrap();
        let export = db.export(publication.export_id).await.unwrap();
        assert_eq!((export.publication_count, export.counts.delivered), (1, 1));
        let watermarks = db.watermarks(scene.destination).await.unwrap();
        assert_eq!(watermarks, [(scene.connection, round + 1)]);
        assert_eq!(scene.count("marks").await, 0);
        let back_off = BackOff::default();
        db.end_export(publication.export_id, RunState::Completed, None, back_off)
            .await
            .unwrap();
    }
}

async fn a_mark_stands_while_something_is_lacking(database: TestDb) {
    let scene = Scene::new(database).await;
    let db = &scene.db;
    let (pull, token) = settling(&scene).await;
    settle(db, &scene, pull, &token, 0, HeldChange::Replace(None))
        .await
        .unwrap();
    for round in 1..15 {
        let (publication, _, _) = publishing(&scene, round).await;
        let (pull, token) = settling(&scene).await;
        let adopted = PublicationCommit {
            publication: &publication,
            step: None::<(&StepRef, &str, &())>,
        };
        let (settled, published, marked) = tokio::join!(
            settle(db, &scene, pull, &token, round, HeldChange::Replace(None)),
            db.commit_publication(&adopted),
            db.recompute_marks()
        );
        settled.unwrap();
        published.unwrap();
        marked.unwrap();
        assert_eq!(scene.count("marks").await, 1, "round {round}");
        db.end_export(
            publication.export_id,
            RunState::Completed,
            None,
            BackOff::default(),
        )
        .await
        .unwrap();
    }
}

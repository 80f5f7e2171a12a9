//! Exports that end while an attempt of theirs publishes, and attempts that wake
//! too late: in every order, a publication counts once or not at all.

use std::time::Duration;

use db::{Db, RunKind, StepClaim, StepRef};
use destination::Published;
use model::{DestinationId, ExportId, FileFormat, Publication, RunState, Trigger};
use steps::{ChunkReceipt, CloseExport, DeliverChunk, PlanExport, PlanReceipt, PublishExport};

use crate::failure::Failure;
use crate::verify::tests::deployment::{Bend, Deployment};
use crate::{Context, export_chunk, export_close, export_plan, export_publish};

struct Scene {
    deployment: Deployment,
    context: Context,
}

impl Scene {
    /// A settled connection, and a destination that has nothing of it.
    async fn new() -> Self {
        let deployment = Deployment::new(FileFormat::Ndjson).await;
        let served = [("Patient", "person-0", 1), ("Observation", "o", 1)];
        deployment.pull(0, &served, &[], Bend::default()).await;
        let context = crate::testing::context(&deployment.db, &deployment.store);
        Self {
            deployment,
            context,
        }
    }

    fn db(&self) -> &Db {
        &self.deployment.db
    }

    fn destination(&self) -> DestinationId {
        self.deployment.files.id()
    }

    /// Asks for an export and claims it.
    async fn claim(&self, chain: &str) -> ExportId {
        let asked = self
            .db()
            .request_export(self.destination(), Some(Trigger::Manual));
        let asked = asked.await.unwrap();
        let claimed = self.db().claim_export(self.destination(), chain).await;
        assert_eq!(claimed.unwrap(), Some(asked));
        asked
    }

    async fn plan(&self, export_id: ExportId) -> Result<PlanReceipt, Failure> {
        let input = PlanExport {
            export_id,
            destination_id: self.destination(),
            ordinal: 0,
        };
        export_plan::run(&self.context, &input).await
    }

    async fn chunk(&self, export_id: ExportId, plan: &PlanReceipt) -> ChunkReceipt {
        let input = DeliverChunk {
            export_id,
            destination_id: self.destination(),
            plan_id: plan.plan_id.clone(),
            chunk: plan.first_chunk,
        };
        export_chunk::run(&self.context, &input).await.unwrap()
    }

    fn publishing(&self, export_id: ExportId, plan: &PlanReceipt) -> PublishExport {
        PublishExport {
            export_id,
            destination_id: self.destination(),
            plan_id: plan.plan_id.clone(),
            ordinal: 0,
        }
    }

    /// An attempt to publish that is cut off just before it creates: what it would
    /// create.
    async fn begin_publish(&self, export_id: ExportId, plan: &PlanReceipt) -> Publication {
        let step = StepRef {
            kind: RunKind::Export,
            run_id: export_id.to_string(),
            name: "publish-0".to_owned(),
        };
        let claim = self.db().claim_step::<()>(&step).await.unwrap();
        assert!(matches!(claim, StepClaim::Mine { .. }));
        let begun = self.db().begin_publish(export_id, &plan.plan_id).await;
        begun.unwrap();
        let row = self.db().destination("lake").await.unwrap();
        let input = self.publishing(export_id, plan);
        export_publish::publication(&self.context, &input, &row)
            .await
            .unwrap()
    }

    /// An export whose attempt to publish is cut off.
    async fn cut_off(&self) -> (ExportId, PlanReceipt, Publication) {
        let export = self.claim("w").await;
        let plan = self.plan(export).await.unwrap();
        self.chunk(export, &plan).await;
        let wanted = self.begin_publish(export, &plan).await;
        (export, plan, wanted)
    }

    async fn close(&self, export_id: ExportId, state: RunState) {
        let input = CloseExport {
            export_id,
            state,
            code: Some(state.to_string()),
        };
        export_close::run(&self.context, &input).await.unwrap();
    }

    /// The whole of an export that nothing disturbs; returns its number.
    async fn deliver(&self, chain: &str) -> u64 {
        let export = self.claim(chain).await;
        let plan = self.plan(export).await.unwrap();
        if plan.chunk_count > 0 {
            self.chunk(export, &plan).await;
            let input = self.publishing(export, &plan);
            let done = export_publish::run(&self.context, &input).await.unwrap();
            assert!(done.ours);
        }
        self.close(export, RunState::Completed).await;
        self.ended(export, RunState::Completed).await;
        plan.number
    }

    /// The attempt that was cut off wakes, and finds its number taken.
    async fn wakes_too_late(&self, wanted: &Publication) {
        let created = self.deployment.files.publish(wanted).await.unwrap();
        assert!(matches!(created, Published::Stands(_)));
    }

    async fn ended(&self, export: ExportId, state: RunState) -> db::Export {
        let row = self.db().export(export).await.unwrap();
        assert_eq!(row.state, state, "{:?}", row.error_code);
        row
    }

    /// Everything is delivered once, and everybody agrees on it.
    async fn is_whole(&self, burnt: &[bool]) {
        let connection = self.deployment.connections[0];
        let head = self.db().log_head(connection).await.unwrap().head_seq;
        let watermarks = self.db().watermarks(self.destination()).await.unwrap();
        assert_eq!(watermarks, [(connection, head)]);
        let mut stand = Vec::new();
        let mut number = 1;
        while let Some(found) = self.deployment.files.publication(number).await.unwrap() {
            stand.push(found.burnt);
            number += 1;
        }
        assert_eq!(stand, burnt);
        let report = self.deployment.verify().await;
        assert!(report.is_clean(), "{:#?}", report.findings);
    }
}

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

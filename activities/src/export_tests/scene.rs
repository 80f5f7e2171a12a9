//! A deployment whose exports are done step by step, and cut off where a test wants.

use db::{Db, RunKind, StepClaim, StepRef};
use destination::Published;
use model::{DestinationId, ExportId, FileFormat, Publication, RunState, Trigger};
use steps::{ChunkReceipt, CloseExport, DeliverChunk, PlanExport, PlanReceipt, PublishExport};

use crate::failure::Failure;
use crate::verify::tests::deployment::{Bend, Deployment};
use crate::{Context, export_chunk, export_close, export_plan, export_publish};

pub(super) struct Scene {
    pub(super) deployment: Deployment,
    pub(super) context: Context,
}

impl Scene {
    /// A settled connection, and a destination that has nothing of it.
    pub(super) async fn new() -> Self {
        let deployment = Deployment::new(FileFormat::Ndjson).await;
        let served = [("Patient", "person-0", 1), ("Observation", "o", 1)];
        deployment.pull(0, &served, &[], Bend::default()).await;
        let context = crate::testing::context(&deployment.db, &deployment.store);
        Self {
            deployment,
            context,
        }
    }

    pub(super) fn db(&self) -> &Db {
        &self.deployment.db
    }

    pub(super) fn destination(&self) -> DestinationId {
        self.deployment.files.id()
    }

    /// Asks for an export and claims it.
    pub(super) async fn claim(&self, chain: &str) -> ExportId {
        let asked = self
            .db()
            .request_export(self.destination(), Some(Trigger::Manual));
        let asked = asked.await.unwrap();
        let claimed = self.db().claim_export(self.destination(), chain).await;
        assert_eq!(claimed.unwrap(), Some(asked));
        asked
    }

    pub(super) async fn plan(&self, export_id: ExportId) -> Result<PlanReceipt, Failure> {
        let input = PlanExport {
            export_id,
            destination_id: self.destination(),
            ordinal: 0,
        };
        export_plan::run(&self.context, &input).await
    }

    pub(super) async fn chunk(&self, export_id: ExportId, plan: &PlanReceipt) -> ChunkReceipt {
        let input = DeliverChunk {
            export_id,
            destination_id: self.destination(),
            plan_id: plan.plan_id.clone(),
            chunk: plan.first_chunk,
        };
        export_chunk::run(&self.context, &input).await.unwrap()
    }

    pub(super) fn publishing(&self, export_id: ExportId, plan: &PlanReceipt) -> PublishExport {
        PublishExport {
            export_id,
            destination_id: self.destination(),
            plan_id: plan.plan_id.clone(),
            ordinal: 0,
        }
    }

    /// An attempt to publish that is cut off just before it creates: what it would
    /// create.
    pub(super) async fn begin_publish(
        &self,
        export_id: ExportId,
        plan: &PlanReceipt,
    ) -> Publication {
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
    pub(super) async fn cut_off(&self) -> (ExportId, PlanReceipt, Publication) {
        let export = self.claim("w").await;
        let plan = self.plan(export).await.unwrap();
        self.chunk(export, &plan).await;
        let wanted = self.begin_publish(export, &plan).await;
        (export, plan, wanted)
    }

    pub(super) async fn close(&self, export_id: ExportId, state: RunState) {
        let input = CloseExport {
            export_id,
            state,
            code: Some(state.to_string()),
        };
        export_close::run(&self.context, &input).await.unwrap();
    }

    /// The whole of an export that nothing disturbs; returns its number.
    pub(super) async fn deliver(&self, chain: &str) -> u64 {
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
    pub(super) async fn wakes_too_late(&self, wanted: &Publication) {
        let created = self.deployment.files.publish(wanted).await.unwrap();
        assert!(matches!(created, Published::Stands(_)));
    }

    pub(super) async fn ended(&self, export: ExportId, state: RunState) -> db::Export {
        let row = self.db().export(export).await.unwrap();
        assert_eq!(row.state, state, "{:?}", row.error_code);
        row
    }

    /// Everything is delivered once, and everybody agrees on it.
    pub(super) async fn is_whole(&self, burnt: &[bool]) {
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

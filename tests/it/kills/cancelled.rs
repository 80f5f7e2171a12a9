//! Runs that are cancelled, and whose worker is killed while they end: what they
//! would have brought comes with the next one, once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use chartlift_tests::App;
use db::RunKind;
use model::{RunState, Trigger};
use sandbox::Knobs;
use steps::PatientPull;
use temporalio_client::WorkflowCancelOptions;

use super::scene::{HEALED, Scene, UNDISTURBED, add_destinations};

impl Scene {
    /// Cancels two pulls as the Temporal UI does, and kills the worker while they
    /// end. What they would have brought is still to be pulled.
    pub(super) async fn cancelled_pulls(&mut self) -> Result<u32> {
        self.change_portal();
        self.storm.begin(&mut self.app)?;
        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: 1_000,
            ..Knobs::default()
        });
        let pulls = self.app.pull(&self.connections[..2]).await?;
        self.until_two_run("pull.pages").await?;
        let client = self.app.temporal.client().await?;
        for connection in &self.connections[..2] {
            client
                .get_workflow_handle::<PatientPull>(PatientPull::id(*connection))
                .cancel(WorkflowCancelOptions::default())
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, &["pull.close"], 1)
            .await?;
        self.heal().await?;
        portal.set_knobs(Knobs::default());
        for id in pulls {
            let state = self.app.core.db.pull(id).await?.state;
            ensure!(state == RunState::Cancelled, "{id} is {state}");
        }
        Ok(counted)
    }

    /// Cancels two exports, and kills the worker while they end.
    pub(super) async fn cancelled_exports(&mut self) -> Result<u32> {
        let name = format!("cancelled-{}", self.round);
        let destinations = add_destinations(&self.app, &name).await?;
        self.storm.begin(&mut self.app)?;
        self.until_two_run("export.chunk").await?;
        let db = self.app.core.db.clone();
        for id in destinations {
            let export = db.exports(Some(id), None, 1).await?.remove(0);
            db.request_cancel(RunKind::Export, &export.id.to_string())
                .await?;
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, &["export.close"], 1)
            .await?;
        self.app.idle(HEALED).await?;
        for id in destinations {
            db.request_export(id, Some(Trigger::Manual)).await?;
        }
        self.heal().await?;
        self.app.holds_what_was_served(0, &destinations).await?;
        self.destinations.extend(destinations);
        Ok(counted)
    }

    /// Waits until two workflows are at a step.
    async fn until_two_run(&mut self, step: &str) -> Result<()> {
        self.app
            .until(UNDISTURBED, step, async |app: &mut App| {
                let running = app.node().step_log().running()?;
                let of_step = running.iter().filter(|of| of.step == step);
                Ok(of_step
                    .map(|of| &of.workflow)
                    .collect::<BTreeSet<_>>()
                    .len()
                    == 2)
            })
            .await
    }
}

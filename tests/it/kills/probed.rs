//! Killed while it tests and rehearses destinations beside pulls, the worker leaves
//! no probe without an end.

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, PROBE_STEPS};
use model::{ProbeKind, RunState};
use sandbox::Knobs;

use super::Trial;
use super::scene::{HEALED, Scene};

impl Scene {
    /// Tests and rehearses all destinations while everything is pulled, and kills
    /// the worker at it. Each probe says in the end that all is well.
    pub(super) async fn probes(&mut self, trial: &Trial, kills: u32) -> Result<u32> {
        self.change_portal();
        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: trial.latency_ms,
            ..Knobs::default()
        });
        self.storm.begin(&mut self.app)?;
        self.app.pull(&self.connections).await?;
        let mut probes = Vec::new();
        for destination in &self.destinations {
            for kind in [ProbeKind::Test, ProbeKind::Rehearsal] {
                probes.push(self.app.core.db.request_probe(*destination, kind).await?);
            }
        }
        let counted = self
            .storm
            .kill_workers(&mut self.app, PROBE_STEPS, kills)
            .await?;
        portal.set_knobs(Knobs::default());
        self.app
            .until(HEALED, "all probes have ended", async |app: &mut App| {
                for id in &probes {
                    if !app.core.db.probe(*id).await?.state.is_final() {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        for id in probes {
            let probe = self.app.core.db.probe(id).await?;
            ensure!(probe.state == RunState::Completed, "{probe:?}");
        }
        self.heal().await.context("the probes in a storm")?;
        self.app
            .holds_what_was_served(0, &self.destinations)
            .await?;
        Ok(counted)
    }
}

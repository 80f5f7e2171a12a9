//! Killed while it merges, sweeps and forgets beside pulls and exports, the upkeep
//! goes on by itself and costs nobody anything.

use anyhow::{Context, Result};
use chartlift_tests::MAINTAIN_STEPS;
use sandbox::Knobs;

use super::Trial;
use super::scene::Scene;

/// All the time, and without the waiting that spares those who still read.
const BUSY: [(&str, &str); 4] = [
    ("CHARTLIFT_MAINTAIN__INTERVAL_MS", "50"),
    ("CHARTLIFT_MAINTAIN__MERGE_BATCHES", "2"),
    ("CHARTLIFT_MAINTAIN__SUPERSEDED_AGE_MS", "200"),
    ("CHARTLIFT_MAINTAIN__ORPHAN_AGE_MS", "5000"),
];

impl Scene {
    /// Changes the portal, and kills the upkeep while everything is pulled and
    /// delivered to all destinations.
    pub(super) async fn upkeep(&mut self, trial: &Trial, kills: u32) -> Result<u32> {
        self.change_portal();
        let portal = self.app.sandbox.portal().clone();
        portal.set_knobs(Knobs {
            latency_ms: trial.latency_ms,
            ..Knobs::default()
        });
        self.storm.set_variables(&BUSY);
        self.storm.begin(&mut self.app)?;
        self.app.pull(&self.connections).await?;
        let counted = self
            .storm
            .kill_workers(&mut self.app, MAINTAIN_STEPS, kills)
            .await?;
        self.heal().await.context("the upkeep in a storm")?;
        self.storm.set_variables(&[]);
        portal.set_knobs(Knobs::default());
        self.app
            .holds_what_was_served(0, &self.destinations)
            .await?;
        Ok(counted)
    }
}

//! Whether the demo did what it promises.

use anyhow::Result;
use model::RunState;
use std::collections::BTreeMap;
use worker::Core;

use super::progress::Runs;
use super::setup::Scene;
use crate::commands::pull::because;
use crate::commands::verify;

/// What was found of a run of the demo.
#[derive(Debug)]
pub(super) struct Judgement {
    /// What does not hold, a line each: nothing when every pull completed, every
    /// destination has everything, and what is stored is as promised.
    pub(super) faults: Vec<String>,
    /// What `verify` says.
    pub(super) verdict: String,
}

/// Judges what the runs left.
pub(super) async fn judge(core: &Core, scene: &Scene, runs: &Runs) -> Result<Judgement> {
    let mut faults = pulls(core, runs).await?;
    faults.extend(deliveries(core, scene).await?);
    let report = verify::report(core, true).await?;
    let verdict = verify::verdict(&report);
    if !report.is_clean() {
        faults.extend(verify::lines(&report));
    }
    Ok(Judgement { faults, verdict })
}

async fn pulls(core: &Core, runs: &Runs) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for id in &runs.asked {
        let pull = core.db.pull(*id).await?;
        if pull.state != RunState::Completed {
            let code = because(pull.error_code.as_deref());
            faults.push(format!(
                "{id} is {}{code}, not completed: `chartlift pull show {id}`",
                pull.state
            ));
        }
    }
    Ok(faults)
}

async fn deliveries(core: &Core, scene: &Scene) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let connections = core.db.connections(None, u32::MAX).await?;
    for destination in &scene.destinations {
        let watermarks: BTreeMap<_, _> = core
            .db
            .watermarks(destination.id)
            .await?
            .into_iter()
            .collect();
        let behind = connections.iter().filter(|row| {
            scene.connections.contains(&row.id)
                && watermarks.get(&row.id).copied().unwrap_or(0) < row.head_seq
        });
        let (behind, name) = (behind.count(), &destination.name);
        if behind > 0 {
            faults.push(format!(
                "{name} lacks something of {behind} connections: `chartlift export list`"
            ));
        }
    }
    Ok(faults)
}

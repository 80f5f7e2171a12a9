//! How far a pull has brought each type: what its settle notes for the next pulls.

use std::collections::BTreeMap;

use db::{Db, WatermarkChange};
use model::{PullId, PullMode, Timestamp, TypeOutcome};
use records::Settled;
use steps::TypeProgress;

use crate::failure::Failure;
use crate::pull_progress::{StepProgress, decode};

/// The resource that says whose record it is.
const PATIENT: &str = "Patient";

/// The newest change that the pull has of each type that it had whole or brought up
/// to date. It stands in the progress of the steps, which is sealed, and in no receipt.
pub(crate) async fn had_to(db: &Db, pull: PullId) -> Result<BTreeMap<String, Timestamp>, Failure> {
    let mut found = BTreeMap::new();
    for (name, progress) in db.finished_progress(&pull.to_string(), "pages-").await? {
        // What gives many types at once says of none how new it is.
        if [steps::EVERYTHING_STEP, steps::EXPORT_STEP].contains(&name.as_str()) {
            continue;
        }
        let progress: StepProgress = decode(&progress)?;
        let streams = progress.streams.into_iter();
        found.extend(
            streams
                .filter_map(|stream| Some((stream.plan.resource_type.clone(), stream.had_to()?))),
        );
    }
    Ok(found)
}

/// What becomes of the watermarks of the types that were asked for. `lines` is the
/// pull's coverage, `follows_all` whether it could read what its resources refer to.
///
/// A change of the patient's own resource may be a merge with another: then there is a
/// history that no search for changes finds. And what was referred to and could not be
/// read is referred to again only where everything is asked for.
pub(crate) fn changes(
    lines: &BTreeMap<String, TypeProgress>,
    had_to: &BTreeMap<String, Timestamp>,
    settled: &Settled,
    follows_all: bool,
) -> BTreeMap<String, WatermarkChange> {
    let patient = settled.counts_by_type.get(PATIENT);
    let goes_on = follows_all && patient.is_none_or(|counts| counts.changed == 0);
    let asked = lines
        .values()
        .filter_map(|line| Some((line, line.plan_hash.as_ref()?)));
    asked
        .map(|(line, plan_hash)| {
            let is_complete = line.outcome == Some(TypeOutcome::Complete);
            let is_whole = is_complete && line.mode != Some(PullMode::Updated);
            let had_to = had_to.get(&line.resource_type).copied();
            let change = WatermarkChange {
                whole: is_whole.then(|| plan_hash.clone()),
                had_to: had_to.filter(|_| is_complete && goes_on),
            };
            (line.resource_type.clone(), change)
        })
        .collect()
}

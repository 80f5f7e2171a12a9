//! One read of `pull.references`: asked for a few times, put off, or taken for what its
//! answer says.

use std::time::Duration;

use model::{Reason, Timestamp};
use records::Index;
use source::{ReadOutcome, SourceClient};

use crate::failure::Failure;
use crate::pull_absences::Pause;
use crate::pull_closure::{Target, target_hash};
use crate::pull_pages::Fetch;
use crate::pull_progress::ReferenceProgress;
use crate::pull_stream::{FAILURES_MAX, WAITS_MAX};
use crate::source_verdicts::{Asked, SourceVerdict, on_source};

/// Between two attempts at the same resource, times the attempts made.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// How long to wait where a read was not made; while the source keeps itself closed,
/// not for ever.
pub(crate) fn put_off(progress: &mut ReferenceProgress, error: &source::Error) -> Option<Pause> {
    let source::Error::NotYet { after, is_held, .. } = error else {
        return None;
    };
    if *is_held && progress.waits >= WAITS_MAX {
        return None;
    }
    progress.waits += u32::from(*is_held);
    Some(Pause::Wait(*after))
}

/// Reads one resource. What the server itself says it fails at, and what is no FHIR,
/// is asked for a few times here: it concerns this one alone.
pub(crate) async fn read_one(
    client: &SourceClient,
    target: &Target,
) -> Result<ReadOutcome, source::Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match client.read(&target.0, &target.1).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        match on_source(Asked::Read, &error) {
            SourceVerdict::Retry(_, tries) if is_of_one(&error) && attempts < tries => {
                tokio::time::sleep(READ_AGAIN * attempts).await;
            }
            _ => return Err(error),
        }
    }
}

/// Whether an error says nothing about other resources.
fn is_of_one(error: &source::Error) -> bool {
    matches!(
        error,
        source::Error::Failed { .. } | source::Error::Protocol { .. }
    )
}

/// Stages what a read gave and counts it. A reference that leads nowhere is
/// normal, unless the source says that what was there is deleted; one that it would
/// not answer is named in the coverage.
pub(crate) fn take(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    read: Result<ReadOutcome, source::Error>,
    target: &Target,
    index: &Index,
) -> Result<(), Failure> {
    if read.is_ok() {
        (progress.failures, progress.waits) = (0, 0);
    }
    let line = progress.lines.entry(target.0.clone()).or_default();
    let was_refused = matches!(
        read,
        Ok(ReadOutcome::Refused { .. }) | Err(source::Error::Unauthorized { .. })
    );
    let refused = progress.refused.entry(target.0.clone()).or_default();
    *refused = if was_refused { *refused + 1 } else { 0 };
    match read {
        Ok(ReadOutcome::Found(resource)) => {
            fetch.staging.push(&resource, Timestamp::now())?;
            line.look_at(&resource);
            line.fetched += 1;
        }
        Ok(ReadOutcome::Gone) => {
            let known = index.get(&target.0, &target.1);
            if let Some(entry) = known.filter(|entry| !entry.is_tombstone) {
                fetch
                    .staging
                    .push_gone(&entry, Reason::SourceDeleted, Timestamp::now())?;
            }
        }
        Ok(ReadOutcome::NotFound) => {
            progress.dangling.insert(target_hash(&target.0, &target.1));
        }
        Ok(ReadOutcome::Refused { .. }) => line.error_code = Some("reads_refused".to_owned()),
        Err(error) if is_of_one(&error) => line.error_code = Some("reads_failed".to_owned()),
        Err(error) => {
            let verdict = on_source(Asked::Read, &error);
            if let SourceVerdict::Wait(_) | SourceVerdict::Retry(..) = verdict {
                progress.failures += 1;
            }
            let gives_up = progress.failures >= FAILURES_MAX;
            match verdict {
                SourceVerdict::Wait(after) if !gives_up => {
                    return Err(Failure::Retry {
                        code: "source_throttled",
                        what: error.to_string(),
                        after: Some(after),
                    });
                }
                SourceVerdict::Retry(code, _) if !gives_up => {
                    return Err(Failure::retry(code, error));
                }
                SourceVerdict::NotAsked(code) => return Err(Failure::retry(code, error)),
                SourceVerdict::Fail(code) => return Err(Failure::last(code, error)),
                SourceVerdict::Retry(code, _) => line.give_up(code),
                SourceVerdict::Wait(_) => line.give_up("throttled"),
                _ => line.error_code = Some("reads_refused".to_owned()),
            }
        }
    }
    // Found or not, it is not asked for again.
    progress.asked.insert(target_hash(&target.0, &target.1));
    line.pages += 1;
    fetch.pages += 1;
    Ok(())
}

//! `pull.references`: read by id what the fetched resources refer to and no
//! search gives: practitioners, their roles, organizations, locations,
//! medications. One level. Then what has gone (`pull_absences.rs`).

use std::collections::BTreeSet;

use db::{RunKind, StepClaim, StepRef};
use futures::StreamExt;
use model::{Reason, Timestamp, TypeOutcome};
use records::{Index, SegmentReader};
use source::{CLOSURE_TYPES, ReadOutcome, SourceClient, reference_target};
use steps::{HeldReceipt, PullStep, PullStepReceipt};
use url::Url;

use crate::failure::{Failure, SourceVerdict, on_source};
use crate::pull_absences::Pause;
use crate::pull_pages::{FAILURES_MAX, Fetch};
use crate::pull_progress::{ReferenceProgress, decode, encode};
use crate::{Context, pull_absences, pull_settle};

/// Reads in flight at once.
pub(crate) const READS_IN_FLIGHT: usize = 4;

/// A referenced resource: type and id.
type Target = (String, String);

pub(crate) async fn run(context: &Context, input: &PullStep) -> Result<PullStepReceipt, Failure> {
    let step = StepRef {
        kind: RunKind::Pull,
        run_id: input.pull_id.to_string(),
        name: input.step.clone(),
    };
    let (token, idle_attempts, progress) = match context.db.claim_step(&step).await? {
        StepClaim::Done(receipt) => return Ok(receipt),
        StepClaim::Mine {
            token,
            idle_attempts,
            progress,
        } => (token, idle_attempts, progress),
    };
    read(context, input, step, token, progress.as_deref())
        .await
        .map_err(|failure| failure.within(idle_attempts))
}

async fn read(
    context: &Context,
    input: &PullStep,
    step: StepRef,
    token: String,
    progress: Option<&[u8]>,
) -> Result<PullStepReceipt, Failure> {
    let mut progress: ReferenceProgress = progress.map(decode).transpose()?.unwrap_or_default();
    let connection = context.db.connection(input.connection_id).await?;
    let client = context.client(&connection)?;
    let base = Url::parse(&connection.base_url)
        .map_err(|_| Failure::last("source_config", "the base URL cannot be read"))?;
    let index = pull_settle::log_index(context, input.connection_id).await?;
    let mut fetch = Fetch::new(context, input, step, token)?;
    let mut pause = None;
    if !progress.references_read {
        pause = read_references(&mut fetch, &mut progress, &client, &base, &index).await?;
        progress.references_read = pause.is_none();
    }
    let mut held = None;
    if pause.is_none() {
        match pull_absences::run(&mut fetch, &mut progress, &client, &index).await? {
            Ok(receipt) => held = receipt,
            Err(stopped) => pause = Some(stopped),
        }
    }
    let receipt = receipt(&mut progress, fetch.pages, pause, held);
    save(
        &mut fetch,
        &mut progress,
        (!receipt.more).then_some(&receipt),
    )
    .await?;
    Ok(receipt)
}

/// Reads the references that are left, in order.
async fn read_references(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    client: &SourceClient,
    base: &Url,
    index: &Index,
) -> Result<Option<Pause>, Failure> {
    let targets = targets(fetch.context, fetch.input, base, progress.last.as_ref()).await?;
    let mut left = targets.len();
    let mut reads = futures::stream::iter(targets)
        .map(|target| async { (client_read(client, &target).await, target) })
        .buffered(READS_IN_FLIGHT);
    while let Some((read, target)) = reads.next().await {
        if let Err(failure) = take(fetch, progress, read, &target, index) {
            save(fetch, progress, None).await?;
            return Err(failure);
        }
        progress.last = Some(target);
        left -= 1;
        if left > 0 && fetch.is_spent() {
            return Ok(Some(Pause::Spent));
        }
        if fetch.staging.ready() {
            save(fetch, progress, None).await?;
        }
    }
    Ok(None)
}

async fn client_read(client: &SourceClient, target: &Target) -> Result<ReadOutcome, source::Error> {
    client.read(&target.0, &target.1).await
}

/// The references of everything staged, but for what was staged itself and what
/// an earlier attempt has read.
async fn targets(
    context: &Context,
    input: &PullStep,
    base: &Url,
    last: Option<&Target>,
) -> Result<BTreeSet<Target>, Failure> {
    let mut found = BTreeSet::new();
    let mut staged = BTreeSet::new();
    for object in context.db.staging(input.pull_id).await? {
        let reader = SegmentReader::open(&context.store, &object.object_key).await?;
        for row in reader.footer().rows() {
            if CLOSURE_TYPES.contains(&row.resource_type) {
                staged.insert((row.resource_type.to_owned(), row.id.to_owned()));
            }
        }
        for frame in 0..reader.footer().frames().len() {
            let text = reader.read_frame(frame).await?;
            let targets =
                model::references(&text).filter_map(|reference| reference_target(&reference, base));
            found.extend(targets.filter(|(name, _)| CLOSURE_TYPES.contains(&name.as_str())));
        }
    }
    found.retain(|target| !staged.contains(target) && last.is_none_or(|last| target > last));
    Ok(found)
}

/// Stages what a read gave and counts it. A reference that leads nowhere is
/// normal, unless the source says that what was there is deleted; one that it would
/// not answer is named in the coverage.
fn take(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    read: Result<ReadOutcome, source::Error>,
    target: &Target,
    index: &Index,
) -> Result<(), Failure> {
    if read.is_ok() {
        progress.failures = 0;
    }
    let line = progress.lines.entry(target.0.clone()).or_default();
    match read {
        Ok(ReadOutcome::Found(resource)) => {
            fetch.staging.push(&resource, Timestamp::now())?;
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
        Ok(ReadOutcome::NotFound) => {}
        Ok(ReadOutcome::Refused { .. }) => line.error_code = Some("reads_refused".to_owned()),
        Err(error) => {
            let verdict = on_source(&error);
            if let SourceVerdict::Wait(_) | SourceVerdict::Retry(_) = verdict {
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
                SourceVerdict::Retry(code) if !gives_up => return Err(Failure::retry(code, error)),
                SourceVerdict::NotAsked(code) => return Err(Failure::retry(code, error)),
                SourceVerdict::Fail(code) => return Err(Failure::last(code, error)),
                SourceVerdict::Retry(code) => line.give_up(code),
                SourceVerdict::Wait(_) => line.give_up("throttled"),
                _ => line.error_code = Some("reads_refused".to_owned()),
            }
        }
    }
    line.pages += 1;
    fetch.pages += 1;
    Ok(())
}

fn receipt(
    progress: &mut ReferenceProgress,
    pages: u64,
    pause: Option<Pause>,
    held: Option<HeldReceipt>,
) -> PullStepReceipt {
    if pause.is_none() {
        for line in progress.lines.values_mut() {
            line.outcome.get_or_insert(TypeOutcome::Complete);
        }
    }
    let types = progress
        .lines
        .iter()
        .map(|(name, line)| line.progress(name))
        .collect();
    let wait_ms = match pause {
        Some(Pause::Wait(wait)) => u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        Some(Pause::Spent) | None => 0,
    };
    PullStepReceipt {
        types,
        pages,
        more: pause.is_some(),
        wait_ms,
        held,
    }
}

pub(crate) async fn save(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    receipt: Option<&PullStepReceipt>,
) -> Result<(), Failure> {
    let objects = fetch.close_staging(&mut progress.staging_count).await?;
    fetch
        .save_encoded(&encode(progress), &objects, receipt)
        .await
}

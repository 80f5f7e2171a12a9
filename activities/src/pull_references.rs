//! `pull.references`: read by id what the fetched resources refer to and no
//! search gave (`pull_closure.rs`), in a few rounds. Then what has gone
//! (`pull_absences.rs`).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use model::{Timestamp, TypeOutcome};
use records::Index;
use source::SourceClient;
use steps::{HeldReceipt, PullStep, PullStepReceipt};
use url::Url;

use crate::context::parse_base;
use crate::failure::Failure;
use crate::pull_absences::Pause;
use crate::pull_closure::{Known, ROUNDS_MAX, TARGETS_MAX, Target, target_hash, targets};
use crate::pull_modes::updated_types;
use crate::pull_pages::Fetch;
use crate::pull_progress::{ReferenceProgress, decode, encode};
use crate::pull_reference_read::{put_off, read_one, take};
use crate::step::{Claimed, of_pull, once};
use crate::{Context, pull_absences, pull_settle};

/// Reads in flight at once, where the source bears them.
pub(crate) const READS_IN_FLIGHT: usize = 4;

/// So many reads of a type in a row that were refused, and the rest of the type is
/// left alone: it is not granted.
const REFUSED_MAX: u32 = 5;

/// Reads with so many requests at once.
pub(crate) async fn run(
    context: &Context,
    input: &PullStep,
    requests: usize,
) -> Result<PullStepReceipt, Failure> {
    let step = of_pull(input.pull_id, &input.step);
    once(context, step, |claimed| {
        read(context, input, requests, claimed)
    })
    .await
}

async fn read(
    context: &Context,
    input: &PullStep,
    requests: usize,
    claimed: Claimed,
) -> Result<PullStepReceipt, Failure> {
    let progress = claimed.progress.as_deref().map(decode).transpose()?;
    let mut progress: ReferenceProgress = progress.unwrap_or_default();
    let opened = Fetch::open(context, input, claimed.step, claimed.token);
    let (mut fetch, connection, client) = opened.await?;
    fetch.requests = requests.max(1);
    let fetch = &mut fetch;
    let base = parse_base(&connection.base_url)?;
    let index = pull_settle::log_index(context, input.connection_id).await?;
    let mut pause = None;
    if !progress.references_read {
        pause = read_references(fetch, &mut progress, &client, &base, &index).await?;
        progress.references_read = pause.is_none();
        if progress.references_read {
            remember_dangling(fetch, &progress).await?;
        }
    }
    let mut held = None;
    if pause.is_none() {
        match pull_absences::run(fetch, &mut progress, &client, &index).await? {
            Ok(receipt) => held = receipt,
            Err(stopped) => pause = Some(stopped),
        }
    }
    let receipt = receipt(&mut progress, fetch.pages, pause, held);
    save(fetch, &mut progress, (!receipt.more).then_some(&receipt)).await?;
    Ok(receipt)
}

async fn remember_dangling(fetch: &Fetch<'_>, progress: &ReferenceProgress) -> Result<(), Failure> {
    let (db, connection) = (&fetch.context.db, fetch.input.connection_id);
    Ok(db
        .remember_dangling(connection, &progress.dangling, believed_since(fetch))
        .await?)
}

/// That a reference leads nowhere is believed for as long as a type is asked for its
/// changes alone.
fn believed_since(fetch: &Fetch<'_>) -> Timestamp {
    Timestamp::now().before(fetch.context.limits.full_pull_after)
}

/// What the source did not find is not asked for again so soon; by a pull that asks for
/// everything, it is.
async fn known_dangling(fetch: &Fetch<'_>) -> Result<BTreeSet<u64>, Failure> {
    let (db, input) = (&fetch.context.db, fetch.input);
    if db.pull(input.pull_id).await?.full {
        return Ok(BTreeSet::new());
    }
    Ok(db
        .dangling_references(input.connection_id, believed_since(fetch))
        .await?)
}

/// Reads the references that are left: those of what the searches gave, then those
/// of what was read, a few rounds deep. What is known of a type that was asked for its
/// changes needs no read.
async fn read_references(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    client: &SourceClient,
    base: &Url,
    index: &Index,
) -> Result<Option<Pause>, Failure> {
    let updated = updated_types(fetch).await?;
    let known = Known {
        index,
        dangling: known_dangling(fetch).await?,
    };
    let is_known = |target: &Target| {
        updated.contains(&target.0)
            && index
                .get(&target.0, &target.1)
                .is_some_and(|entry| !entry.is_tombstone)
    };
    while progress.round < ROUNDS_MAX {
        let mut found = targets(fetch.context, fetch.input, base, progress.round, &known).await?;
        found.retain(|target| {
            !progress.asked.contains(&target_hash(&target.0, &target.1))
                && !is_known(target)
                && progress.last.as_ref().is_none_or(|last| target > last)
        });
        if found.is_empty() && progress.last.is_none() {
            return Ok(None);
        }
        let cut = found.iter().nth(TARGETS_MAX).cloned();
        for (resource_type, _) in cut.map(|cut| found.split_off(&cut)).unwrap_or_default() {
            let line = progress.lines.entry(resource_type).or_default();
            line.outcome = Some(TypeOutcome::Truncated);
            line.error_code = Some("too_many_references".to_owned());
        }
        if let Some(pause) = read_round(fetch, progress, client, found, index).await? {
            return Ok(Some(pause));
        }
        progress.round += 1;
        progress.last = None;
        // The next round looks into what this one staged.
        save(fetch, progress, None).await?;
    }
    Ok(None)
}

/// Reads the targets of one round, in order.
async fn read_round(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    client: &SourceClient,
    targets: BTreeSet<Target>,
    index: &Index,
) -> Result<Option<Pause>, Failure> {
    let mut left = targets.len();
    // What is not granted is found out once.
    let hopeless: Mutex<BTreeSet<String>> = Mutex::default();
    let is_hopeless = |name: &str| lock(&hopeless).contains(name);
    let mut reads = futures::stream::iter(targets)
        .map(|target| async {
            let read = match is_hopeless(&target.0) {
                true => None,
                false => Some(read_one(client, &target).await),
            };
            (read, target)
        })
        .buffered(fetch.requests);
    while let Some((read, target)) = reads.next().await {
        if let Some(Err(error)) = &read
            && let Some(pause) = put_off(progress, error)
        {
            return Ok(Some(pause));
        }
        if let Some(read) = read
            && let Err(failure) = take(fetch, progress, read, &target, index)
        {
            save(fetch, progress, None).await?;
            return Err(failure);
        }
        if progress.refused.get(&target.0) >= Some(&REFUSED_MAX) {
            lock(&hopeless).insert(target.0.clone());
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

fn lock(names: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
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

//! The second half of `pull.references`: what is gone? A resource that a whole
//! search did not give again is *absent*; it counts as deleted only where a read
//! answers 404 or 410 (I11). Where very much of a type is absent nothing is read:
//! its tombstones are held for a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use model::{ObjectKey, PullMode, RawResource, Reason, Timestamp, TypeOutcome};
use records::{Absences, Index, IndexEntry, StagingWriter};
use source::{ReadOutcome, SourceClient};
use steps::{HeldReceipt, PullStepReceipt};

use crate::failure::Failure;
use crate::pull_pages::Fetch;
use crate::pull_progress::ReferenceProgress;
use crate::pull_references::save;
use crate::pull_stream::{WAIT_HERE_MAX, WAITS_MAX};
use crate::source_verdicts::{Asked, SourceVerdict, on_source};

/// A type's absences are held from this many on, if they are more than this
/// share of its live resources: a source that loses its data, or a search that
/// answers less than before, looks like deletions.
const HELD_COUNT_MIN: u64 = 10;
const HELD_PERCENT_MAX: u64 = 20;

/// Attempts at a read: it proves nothing then, and the next pull asks again.
const READ_ATTEMPTS_MAX: u32 = 3;
/// Waits within a read that the source asks for.
const READ_WAITS_MAX: u32 = 10;
/// So many reads of a type in a row that prove nothing, and the rest of the type
/// is left alone.
const UNPROVEN_MAX: u32 = 5;

/// Why the step returns before everything was read.
pub(crate) enum Pause {
    /// Its pages or its time are used up.
    Spent,
    /// The source wants to be left alone.
    Wait(Duration),
}

/// What a read says of an absent resource.
enum Confirmed {
    Gone(Reason),
    /// The search missed it.
    There(Box<RawResource>),
    Unproven,
    Wait(Duration),
    /// It was not read.
    Later(Duration),
}

/// Looks for absent resources and reads them. With everything read, the receipt
/// of those that are held back.
pub(crate) async fn run(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    client: &SourceClient,
    index: &Index,
) -> Result<Result<Option<HeldReceipt>, Pause>, Failure> {
    let asked = asked_alike(fetch).await?;
    if asked.is_empty() {
        return Ok(Ok(None));
    }
    let staging = fetch.context.db.staging(fetch.input.pull_id).await?;
    let staging: Vec<String> = staging.into_iter().map(|row| row.object_key).collect();
    let found = records::absences(&fetch.context.store, &staging, index, |name| {
        asked.contains(name)
    })
    .await?;
    // Counted once, before the first read: what reads confirm or find again must
    // not change it.
    let held = progress
        .held
        .get_or_insert_with(|| too_many(&found))
        .clone();
    let mut rest: &[IndexEntry<'_>] = &found.absent;
    while let Some(first) = rest.first() {
        let count = rest.partition_point(|entry| entry.resource_type <= first.resource_type);
        let (of_type, after) = rest.split_at(count);
        rest = after;
        if held.contains_key(first.resource_type) {
            continue;
        }
        if let Some(pause) = read_type(fetch, progress, client, of_type).await? {
            return Ok(Err(pause));
        }
    }
    Ok(Ok(hold(fetch, &found, held).await?))
}

/// The types that this pull had whole, asked for as in the last pull that had
/// them whole: absence says nothing where the question was another, or only for what
/// has changed.
async fn asked_alike(fetch: &Fetch<'_>) -> Result<BTreeSet<String>, Failure> {
    let db = &fetch.context.db;
    let before = db.type_watermarks(fetch.input.connection_id).await?;
    let run_id = fetch.input.pull_id.to_string();
    let receipts: Vec<(String, PullStepReceipt)> = db.step_receipts(&run_id, "pages-").await?;
    let lines = receipts.into_iter().flat_map(|(_, receipt)| receipt.types);
    Ok(lines
        .filter(|line| line.outcome == Some(TypeOutcome::Complete) && !line.may_lack)
        .filter(|line| line.mode != Some(PullMode::Updated))
        .filter(|line| {
            let before = before.get(&line.resource_type);
            line.plan_hash.is_some() && line.plan_hash.as_ref() == before.map(|of| &of.plan_hash)
        })
        .map(|line| line.resource_type)
        .collect())
}

/// The types of which too much is absent to believe it, with the counts.
fn too_many(found: &Absences<'_>) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in &found.absent {
        *counts.entry(entry.resource_type).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(name, count)| {
            let live = found.live.get(name).copied().unwrap_or(0);
            *count >= HELD_COUNT_MIN && count * 100 > live * HELD_PERCENT_MAX
        })
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// Reads the absent resources of one type and stages what that proves.
async fn read_type(
    fetch: &mut Fetch<'_>,
    progress: &mut ReferenceProgress,
    client: &SourceClient,
    of_type: &[IndexEntry<'_>],
) -> Result<Option<Pause>, Failure> {
    let from = progress.absent_last.as_ref().map_or(0, |last| {
        let last = (last.0.as_str(), last.1.as_str());
        of_type.partition_point(|entry| (entry.resource_type, entry.id) <= last)
    });
    let mut reads = futures::stream::iter(from..of_type.len())
        .map(|at| async move { (confirm(client, &of_type[at]).await, at) })
        .buffered(fetch.requests);
    let mut unproven = 0;
    while let Some((confirmed, at)) = reads.next().await {
        let entry = &of_type[at];
        if let Confirmed::Later(after) = confirmed {
            return Ok(Some(Pause::Wait(after)));
        }
        if fetch.is_spent() {
            return Ok(Some(Pause::Spent));
        }
        let line = progress
            .lines
            .entry(entry.resource_type.to_owned())
            .or_default();
        line.pages += 1;
        fetch.pages += 1;
        match confirmed {
            Confirmed::Wait(wait) if progress.waits < WAITS_MAX => {
                progress.waits += 1;
                return Ok(Some(Pause::Wait(wait)));
            }
            Confirmed::Wait(_) | Confirmed::Later(_) | Confirmed::Unproven => {
                line.error_code = Some("reads_refused".to_owned());
                unproven += 1;
            }
            Confirmed::Gone(reason) => {
                fetch.staging.push_gone(entry, reason, Timestamp::now())?;
                (unproven, progress.waits) = (0, 0);
            }
            Confirmed::There(resource) => {
                fetch.staging.push(&resource, Timestamp::now())?;
                line.look_at(&resource);
                line.fetched += 1;
                (unproven, progress.waits) = (0, 0);
            }
        }
        let done = if unproven < UNPROVEN_MAX {
            entry
        } else {
            of_type.last().unwrap_or(entry)
        };
        progress.absent_last = Some((done.resource_type.to_owned(), done.id.to_owned()));
        if unproven >= UNPROVEN_MAX {
            break;
        }
        if fetch.staging.ready() {
            save(fetch, progress, None).await?;
        }
    }
    Ok(None)
}

/// Reads one absent resource. Only the source's own "not here" and "gone" prove
/// something; a source that fails or refuses does not.
async fn confirm(client: &SourceClient, entry: &IndexEntry<'_>) -> Confirmed {
    let (mut attempts, mut waits) = (0, 0);
    loop {
        let error = match client.read(entry.resource_type, entry.id).await {
            Ok(ReadOutcome::Found(resource)) => return Confirmed::There(resource),
            Ok(ReadOutcome::Gone) => return Confirmed::Gone(Reason::SourceDeleted),
            Ok(ReadOutcome::NotFound) => return Confirmed::Gone(Reason::Absent),
            Ok(ReadOutcome::Refused { .. }) => return Confirmed::Unproven,
            Err(error) => error,
        };
        attempts += 1;
        let pause = match on_source(Asked::Read, &error) {
            SourceVerdict::Wait(wait) if wait <= WAIT_HERE_MAX && waits < READ_WAITS_MAX => {
                waits += 1;
                attempts -= 1;
                wait
            }
            SourceVerdict::Wait(wait) => return Confirmed::Wait(wait),
            SourceVerdict::Later(after) => return Confirmed::Later(after),
            SourceVerdict::Retry(..) if attempts < READ_ATTEMPTS_MAX => {
                Duration::from_secs(attempts.into())
            }
            SourceVerdict::NotAsked(_) => return Confirmed::Wait(WAIT_HERE_MAX),
            _ => return Confirmed::Unproven,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Writes the tombstones that are held back, if there are any.
async fn hold(
    fetch: &Fetch<'_>,
    found: &Absences<'_>,
    types: BTreeMap<String, u64>,
) -> Result<Option<HeldReceipt>, Failure> {
    if types.is_empty() {
        return Ok(None);
    }
    let connection = fetch.input.connection_id;
    let (mut writer, now) = (StagingWriter::new(connection)?, Timestamp::now());
    for entry in &found.absent {
        if types.contains_key(entry.resource_type) {
            writer.push_gone(entry, Reason::Absent, now)?;
        }
    }
    let key = ObjectKey::Held {
        connection,
        pull: fetch.input.pull_id,
        token: fetch.token.clone(),
    };
    let object = writer.close(&fetch.context.store, &key).await?;
    Ok(Some(HeldReceipt {
        object_key: object.key,
        types,
    }))
}

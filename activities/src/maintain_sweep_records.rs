//! `maintain.sweep_records`: removes from the record store what no row names any
//! more. What belongs to nothing this database knows is counted and left alone.
//!
//! Why nothing is lost that somebody still needs:
//! - *Superseded* batches and indexes have a row that says since when. They stay
//!   for their time, and an index as long as an open plan has it pinned. Whoever
//!   reads a batch that goes nevertheless finds it missing, reads the catalogue
//!   again and finds the one that it was merged into.
//! - *Staging* is needed until its pull has ended, and no pull that has ended goes
//!   on. A cut-off attempt may write more of it; that counts for nobody.
//! - *Batches and indexes that no row names* are those of settles and merges that
//!   lost or were cut off, or of some that are about to commit. First the store is
//!   listed, then it is asked whether a pull is open, then what is named: a settle
//!   that had written before the listing either has its pull open when asked, and
//!   nothing is removed, or has committed and is named. A merge commits within
//!   minutes or never, so its objects are safe by their age.
//! - *Held deletions* are named until they are decided and, once accepted, settled.
//! - *Pieces of attachments* are named by the attachment's row, and those that were
//!   replaced as what is superseded. Others are those of attempts that were cut off, as
//!   with batches: they are written while a pull is open.

use std::time::Instant;

use futures::TryStreamExt;
use model::{AttachmentId, ConnectionId, PullId, Timestamp};
use records::ListedObject;
use steps::{LookThroughRecords, SweepReceipt};

use crate::failure::Failure;
use crate::maintain::{CALL_MAX, is_sweep_due};
use crate::{Context, settle_seq};

/// The folder of all connections.
const FOLDER: &str = "connections";
/// Superseded objects removed at once.
const SUPERSEDED_MAX: u32 = 500;

pub(crate) async fn run(
    context: &Context,
    input: &LookThroughRecords,
) -> Result<SweepReceipt, Failure> {
    let started = Instant::now();
    let mut receipt = SweepReceipt::default();
    if input.after.is_none() {
        settle_seq::open_used_block(&context.db, &context.store).await?;
        remove_superseded(context, &mut receipt).await?;
        if !is_sweep_due(context, "records").await? {
            return Ok(receipt);
        }
    }
    for folder in context.store.folders(FOLDER).await? {
        let Ok(connection) = folder.parse::<ConnectionId>() else {
            if input.after.is_none() {
                receipt.unknown += count(context, &folder).await?;
            }
            continue;
        };
        if input.after.is_some_and(|after| connection <= after) {
            continue;
        }
        receipt.looked_through += 1;
        if let Err(failure) = sweep(context, connection, &mut receipt).await {
            receipt.failed += 1;
            tracing::warn!(connection.id = %connection, "its folder was not swept: {failure}");
        }
        if started.elapsed() >= CALL_MAX {
            receipt.next_connection = Some(connection);
            break;
        }
    }
    if receipt.unknown > 0 {
        tracing::warn!(
            objects = receipt.unknown,
            "the record store holds objects of nothing this database knows; they are left alone"
        );
    }
    Ok(receipt)
}

/// Objects first, then rows: a kill in between repeats the removal.
async fn remove_superseded(context: &Context, receipt: &mut SweepReceipt) -> Result<(), Failure> {
    let before = Timestamp::now().before(context.limits.maintain.superseded_age);
    loop {
        let objects = context
            .db
            .superseded_objects(before, SUPERSEDED_MAX)
            .await?;
        for object in &objects {
            context.store.delete(object).await?;
            context.db.forget_superseded(object).await?;
            receipt.removed += 1;
        }
        if objects.len() < SUPERSEDED_MAX as usize {
            return Ok(());
        }
    }
}

async fn count(context: &Context, folder: &str) -> Result<u64, Failure> {
    let objects: Vec<_> = context
        .store
        .list(&format!("{FOLDER}/{folder}"))
        .try_collect()
        .await?;
    Ok(objects.len() as u64)
}

/// What an object is, by its name.
enum Kind {
    /// A batch or an index, with its number.
    Log(u64),
    Staging(PullId),
    Held(PullId),
    /// A piece of an attachment.
    Attachment,
    Unknown,
}

fn kind(object: &str) -> Kind {
    let mut names = object.split('/').skip(2);
    let (folder, name) = (names.next(), names.next().unwrap_or_default());
    let known = match folder {
        Some("batches" | "index") => name
            .split_once('-')
            .and_then(|(seq, _)| seq.parse().ok())
            .map(Kind::Log),
        Some("staging") => name.parse().ok().map(Kind::Staging),
        Some("held") => name.parse().ok().map(Kind::Held),
        Some("attachments") => name
            .split_once('-')
            .and_then(|(id, _)| id.parse::<AttachmentId>().ok())
            .map(|_| Kind::Attachment),
        _ => None,
    };
    known.unwrap_or(Kind::Unknown)
}

/// Sweeps the folder of one connection. The order of the three reads matters: see
/// the top.
async fn sweep(
    context: &Context,
    connection: ConnectionId,
    receipt: &mut SweepReceipt,
) -> Result<(), Failure> {
    let prefix = format!("{FOLDER}/{connection}");
    let objects: Vec<ListedObject> = context.store.list(&prefix).try_collect().await?;
    if !context.db.has_connection(connection).await? {
        receipt.unknown += objects.len() as u64;
        return Ok(());
    }
    let is_pulled = context.db.has_open_pull(connection).await?;
    let named = context.db.named_objects(connection).await?;
    let passed_over = context.db.log_jumps(connection).await?;
    let written_before = Timestamp::now().before(context.limits.maintain.orphan_age);
    for object in objects {
        if named.contains(&object.object) {
            continue;
        }
        let is_old = object.modified <= written_before;
        let is_left_over = match kind(&object.object) {
            // Of a log that a lost database knew: it may be the only copy.
            Kind::Log(seq) if passed_over.iter().any(|of| of.contains(seq)) => {
                receipt.unknown += 1;
                false
            }
            Kind::Log(_) | Kind::Attachment => is_old && !is_pulled,
            Kind::Staging(pull) => has_ended(context, connection, pull, receipt).await?,
            Kind::Held(pull) => {
                is_old && !is_pulled && has_ended(context, connection, pull, receipt).await?
            }
            Kind::Unknown => {
                receipt.unknown += 1;
                false
            }
        };
        if is_left_over {
            context.store.delete(&object.object).await?;
            receipt.removed += 1;
            receipt.removed_bytes += object.size_bytes;
        }
    }
    Ok(())
}

/// Whether a pull of ours has ended; one that is not ours makes its object unknown.
async fn has_ended(
    context: &Context,
    connection: ConnectionId,
    pull: PullId,
    receipt: &mut SweepReceipt,
) -> Result<bool, Failure> {
    match context.db.state_of_pull(connection, pull).await? {
        Some(state) => Ok(state.is_final()),
        None => {
            receipt.unknown += 1;
            Ok(false)
        }
    }
}

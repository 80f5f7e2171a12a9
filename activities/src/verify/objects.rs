//! What else lies in the record store: objects that no row names. Those of
//! attempts of ours that were cut off are harmless and counted; what belongs to
//! nobody we know, or to a later log than ours, is found.

use db::{Db, StoredNames};
use futures::TryStreamExt;
use model::{AttachmentId, ConnectionId, ObjectKey, PullId, RunState};
use records::Store;

use super::{Report, VerifyError};
use crate::settle_seq::{self, SettleSeqError};

/// The folder of all connections.
const FOLDER: &str = "connections";
const UNKNOWN: &str = "find out whose it is before you touch it: another deployment may write to this record store, or this database is older than its store, which `chartlift recover` puts right";
const REACH: &str = "check that the record store can be reached and read, then verify again";
const RECOVER: &str =
    "the database is older than its record store: stop the workers and run `chartlift recover`";

/// An object by the parts of its name.
enum Stored {
    /// Batch or index `seq` of a log.
    Log { is_batch: bool, seq: u64 },
    /// What a pull has put aside: staging, or deletions that wait.
    Pull(PullId),
    /// A piece of an attachment.
    Attachment,
    /// No name of ours.
    Unknown,
}

pub(super) async fn check(db: &Db, store: &Store, report: &mut Report) -> Result<(), VerifyError> {
    numbers(db, store, report).await?;
    let mut objects = store.list(FOLDER);
    let mut group = Group::default();
    loop {
        let object = match objects.try_next().await {
            Ok(Some(object)) => object.object,
            Ok(None) => break,
            Err(error) => {
                report.find(("I1", "store_unreadable"), FOLDER, error.to_string(), REACH);
                break;
            }
        };
        report.checked.stored_objects += 1;
        let connection = object.split('/').nth(1).unwrap_or_default();
        if connection != group.folder {
            let folder = connection.to_owned();
            let full = std::mem::replace(
                &mut group,
                Group {
                    folder,
                    objects: Vec::new(),
                },
            );
            full.judge(db, report).await?;
        }
        group.objects.push(object);
    }
    group.judge(db, report).await
}

/// The settle numbers that the store knows of were this database's to give.
async fn numbers(db: &Db, store: &Store, report: &mut Report) -> Result<(), VerifyError> {
    let object = ObjectKey::SettleSeq;
    match settle_seq::restored_from(db, store).await {
        Ok(None) => {}
        Ok(Some((known, stored))) => {
            let what = format!(
                "settle numbers up to {stored} were reserved, and the database knows of {known}"
            );
            report.find(("I1", "database_older"), object, what, RECOVER);
        }
        Err(SettleSeqError::Database(error)) => return Err(error.into()),
        Err(error) => report.find(("I1", "store_unreadable"), object, error.to_string(), REACH),
    }
    Ok(())
}

/// The objects of one connection: listings hand them out together.
#[derive(Default)]
struct Group {
    folder: String,
    objects: Vec<String>,
}

impl Group {
    async fn judge(self, db: &Db, report: &mut Report) -> Result<(), VerifyError> {
        if self.objects.is_empty() {
            return Ok(());
        }
        let connection = self.folder.parse::<ConnectionId>().ok();
        // Asked after the listing: whatever counts has a row by now, and a row that
        // went meanwhile leaves its object among those that are counted.
        let known = match connection {
            Some(connection) => db
                .stored_names(connection)
                .await?
                .map(|names| (connection, names)),
            None => None,
        };
        let Some((connection, names)) = known else {
            let what = format!(
                "{} objects lie here and this database has no such connection",
                self.objects.len()
            );
            let folder = format!("{FOLDER}/{}", self.folder);
            report.find(("I1", "object_unknown"), folder, what, UNKNOWN);
            return Ok(());
        };
        for object in &self.objects {
            if !names.named.contains(object) {
                judge(db, connection, &names, object, report).await?;
            }
        }
        Ok(())
    }
}

async fn judge(
    db: &Db,
    connection: ConnectionId,
    names: &StoredNames,
    object: &str,
    report: &mut Report,
) -> Result<(), VerifyError> {
    match stored(object) {
        // A settle at work writes the next one; a cut-off one may have, too.
        Stored::Log { seq, is_batch } if seq > names.head_seq + 1 => {
            let noun = if is_batch { "batch" } else { "index" };
            let what = format!(
                "it is {noun} {seq} of a log that ends at {}",
                names.head_seq
            );
            report.find(("I1", "object_ahead"), object, what, RECOVER);
        }
        Stored::Log { .. } | Stored::Attachment if !names.open_pulls.is_empty() => {}
        Stored::Log { .. } | Stored::Attachment => report.checked.stored_left_over += 1,
        Stored::Pull(pull) if names.open_pulls.contains(&pull) => {}
        Stored::Pull(pull) => match db.pull_state(connection, pull).await? {
            Some(RunState::Queued | RunState::Running) => {}
            Some(_) => report.checked.stored_left_over += 1,
            None => {
                let what = format!("this database has no pull {pull} of its connection");
                report.find(("I1", "object_unknown"), object, what, UNKNOWN);
            }
        },
        Stored::Unknown => {
            report.find(
                ("I1", "object_unknown"),
                object,
                "it has no name of ours",
                UNKNOWN,
            );
        }
    }
    Ok(())
}

fn stored(object: &str) -> Stored {
    let mut names = object.split('/').skip(2);
    let (kind, name) = (names.next(), names.next().unwrap_or_default());
    match kind {
        Some("batches" | "index") => match name.split_once('-').map(|(seq, _)| seq.parse()) {
            Some(Ok(seq)) => Stored::Log {
                is_batch: kind == Some("batches"),
                seq,
            },
            _ => Stored::Unknown,
        },
        Some("attachments") => match name.split_once('-').map(|(id, _)| id.parse()) {
            Some(Ok::<AttachmentId, _>(_)) => Stored::Attachment,
            _ => Stored::Unknown,
        },
        Some("staging" | "held") => name.parse().map_or(Stored::Unknown, Stored::Pull),
        _ => Stored::Unknown,
    }
}

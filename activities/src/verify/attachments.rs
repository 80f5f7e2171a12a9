//! The bytes of attachments: each piece is there, together they have the size that the
//! row says and, where bodies are read, its hash.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use db::{AttachmentObject, Db};
use model::AttachmentId;
use records::{Error, Store};

use super::{Report, VerifyError, VerifyOptions};

/// Rows read at once.
const PAGE: u32 = 500;
const FETCH_AGAIN: &str = "restore the object from a backup of the record store, or fetch it again: `chartlift pull start CONNECTION --full`";
const REACH: &str = "check that the record store can be reached and read, then verify again";

pub(super) async fn check(
    db: &Db,
    store: &Store,
    options: &VerifyOptions,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let mut after = None;
    loop {
        let objects = db.attachment_objects(after, PAGE).await?;
        let Some((last, _)) = objects.last() else {
            return Ok(());
        };
        after = Some(*last);
        for (id, object) in &objects {
            report.checked.attachments += 1;
            let Err(wrong) = look(store, options, object).await else {
                continue;
            };
            // It may have been replaced since it was read of, and swept.
            let now = db.attachment(*id).await?;
            if now.and_then(|now| now.object).as_ref() == Some(object) {
                tell(*id, wrong, report);
            }
        }
    }
}

/// What is wrong with an attachment's bytes.
enum Wrong {
    Missing(String),
    Size(u64, u64),
    Hash,
    Store(Error),
}

async fn look(
    store: &Store,
    options: &VerifyOptions,
    object: &AttachmentObject,
) -> Result<(), Wrong> {
    let failed = |name: &str, error| match error {
        Error::NotFound { .. } => Wrong::Missing(name.to_owned()),
        error => Wrong::Store(error),
    };
    let (mut size_bytes, mut hash) = (0, digest::Context::new(&digest::SHA256));
    for piece in object.pieces() {
        size_bytes += match options.bodies {
            true => {
                let bytes = store.get(&piece).await;
                let bytes = bytes.map_err(|error| failed(&piece, error))?;
                hash.update(&bytes);
                bytes.len() as u64
            }
            false => {
                let size = store.size_bytes(&piece).await;
                size.map_err(|error| failed(&piece, error))?
            }
        };
    }
    if size_bytes != object.size_bytes {
        return Err(Wrong::Size(object.size_bytes, size_bytes));
    }
    let is_same = !options.bodies || HEXLOWER.encode(hash.finish().as_ref()) == object.sha256;
    is_same.then_some(()).ok_or(Wrong::Hash)
}

fn tell(id: AttachmentId, wrong: Wrong, report: &mut Report) {
    let find = |code, what: String, action: &str, report: &mut Report| {
        report.find(("I1", code), id, what, action);
    };
    match wrong {
        Wrong::Missing(piece) => {
            let what = format!("{piece}, a piece of it, is not there");
            find("attachment_missing", what, FETCH_AGAIN, report);
        }
        Wrong::Size(expected, found) => {
            let what = format!("it has {found} bytes, and its row says {expected}");
            find("attachment_size_wrong", what, FETCH_AGAIN, report);
        }
        Wrong::Hash => {
            let what = "its bytes are others than those that were fetched".to_owned();
            find("attachment_changed", what, FETCH_AGAIN, report);
        }
        Wrong::Store(error) => find("store_unreadable", error.to_string(), REACH, report),
    }
}

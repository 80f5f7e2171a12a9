//! Settle numbers: deployment-wide, reserved in blocks. The end of a block is known
//! to the database first, then to the record store, and only then are its numbers
//! given out: so the record store never knows of more than the database it belongs
//! to, and a database restored from an older copy is noticed. Whatever begins or
//! ends work opens a new block, so that few copies are too young to be noticed.

use db::Db;
use model::ObjectKey;
use records::Store;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Numbers in a block.
const SETTLE_BLOCK: u64 = 50;

#[derive(Serialize, Deserialize)]
struct Block {
    settle_seq_end: u64,
}

/// Why it could not be told whether the database is older than its record store,
/// or a block not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SettleSeqError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The record store did not answer.
    #[error(transparent)]
    Records(#[from] records::Error),
    /// The object is not what this version writes.
    #[error("object `{object}` of the record store cannot be read: restore it from a backup")]
    Unreadable {
        /// Its name.
        object: String,
    },
}

impl From<SettleSeqError> for Failure {
    fn from(error: SettleSeqError) -> Self {
        match error {
            SettleSeqError::Database(error) => error.into(),
            SettleSeqError::Records(error) => error.into(),
            error @ SettleSeqError::Unreadable { .. } => Self::last("record_corrupt", error),
        }
    }
}

/// The end of the last block that the record store knows of; 0 before the first.
pub(crate) async fn stored_end(store: &Store) -> Result<u64, SettleSeqError> {
    let object = ObjectKey::SettleSeq.to_string();
    match store.get(&object).await {
        Ok(bytes) => serde_json::from_slice::<Block>(&bytes)
            .map(|block| block.settle_seq_end)
            .map_err(|_| SettleSeqError::Unreadable { object }),
        Err(records::Error::NotFound { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Where the database is older than its record store: the highest settle numbers
/// that the two know of.
///
/// # Errors
/// [`SettleSeqError`].
pub async fn restored_from(db: &Db, store: &Store) -> Result<Option<(u64, u64)>, SettleSeqError> {
    let stored = stored_end(store).await?;
    let known = db.settle_numbers().await?.known_end();
    Ok((stored > known).then_some((known, stored)))
}

/// Opens a new block, passing over what is left of the one before.
///
/// # Errors
/// [`SettleSeqError`].
pub async fn open_block(db: &Db, store: &Store) -> Result<(), SettleSeqError> {
    let numbers = db.settle_numbers().await?;
    let end = numbers.known_end() + SETTLE_BLOCK;
    db.reserve_settle_block(end).await?;
    put(store, end).await?;
    db.open_settle_block(numbers.block_end, end).await?;
    // Somebody slower must not leave the record store with less than it knew.
    let known = db.settle_numbers().await?.known_end();
    if known > end {
        put(store, known).await?;
    }
    Ok(())
}

/// Opens a new block if numbers of the current one were given out: a database
/// copied before that is noticed then.
pub(crate) async fn open_used_block(db: &Db, store: &Store) -> Result<(), SettleSeqError> {
    let numbers = db.settle_numbers().await?;
    let begin = numbers.block_end.saturating_sub(SETTLE_BLOCK);
    if numbers.value > begin {
        open_block(db, store).await?;
    }
    Ok(())
}

/// The next settle number.
pub(crate) async fn reserve(db: &Db, store: &Store) -> Result<u64, Failure> {
    loop {
        if let Some(seq) = db.next_settle_seq().await? {
            return Ok(seq);
        }
        open_block(db, store).await?;
    }
}

async fn put(store: &Store, end: u64) -> Result<(), records::Error> {
    let block = Block {
        settle_seq_end: end,
    };
    let text = serde_json::to_vec(&block).expect("a block serialises");
    store.put(&ObjectKey::SettleSeq, text).await
}

//! Settle numbers: deployment-wide, reserved in blocks whose end is written to
//! the record store first, so that a database restored from an older copy is
//! noticed instead of handing numbers out twice.

use db::Db;
use model::ObjectKey;
use records::Store;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Numbers in a block.
pub const SETTLE_BLOCK: u64 = 1000;

#[derive(Serialize, Deserialize)]
struct Block {
    settle_seq_end: u64,
}

/// The end of the last reserved block, as the record store holds it.
///
/// # Errors
/// If the object is not what this version writes.
pub fn reserved_block_end(bytes: &[u8]) -> Result<u64, serde_json::Error> {
    serde_json::from_slice::<Block>(bytes).map(|block| block.settle_seq_end)
}

/// The next settle number.
pub(crate) async fn reserve(db: &Db, store: &Store) -> Result<u64, Failure> {
    loop {
        if let Some(seq) = db.next_settle_seq().await? {
            return Ok(seq);
        }
        let end = db.settle_block_end().await?;
        let next = Block {
            settle_seq_end: end + SETTLE_BLOCK,
        };
        let text = serde_json::to_vec(&next).expect("a block serialises");
        store.put(&ObjectKey::SettleSeq, text).await?;
        db.open_settle_block(end, next.settle_seq_end).await?;
    }
}

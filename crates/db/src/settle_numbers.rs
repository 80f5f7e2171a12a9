//! Settle numbers: drawn one by one out of the block that the record store knows of.

use crate::row::{Columns, bigint};
use crate::{Db, Result};

impl Db {
    /// The next settle number, or `None` when the reserved block is used up.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn next_settle_seq(&self) -> Result<Option<u64>> {
        let row = sqlx::query(
            "UPDATE counters SET value = value + 1 WHERE name = 'settle_seq' AND value < block_end RETURNING value",
        )
        .fetch_optional(&self.writer)
        .await?;
        row.map(|row| row.count("value")).transpose()
    }

    /// The end of the block of settle numbers that the database knows of.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn settle_block_end(&self) -> Result<u64> {
        let row = sqlx::query("SELECT block_end FROM counters WHERE name = 'settle_seq'")
            .fetch_one(&self.writer)
            .await?;
        row.count("block_end")
    }

    /// Opens the next block, once its end is written to the record store; what is
    /// left of the block before is passed over. Somebody else having opened it is
    /// as good.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn open_settle_block(&self, old_end: u64, new_end: u64) -> Result<()> {
        sqlx::query(
            "UPDATE counters SET value = block_end, block_end = $1 WHERE name = 'settle_seq' AND block_end = $2",
        )
        .bind(bigint(new_end))
        .bind(bigint(old_end))
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

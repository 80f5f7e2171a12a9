//! Staging objects: a step that is saved names them, and settle reads them.

use model::{PullId, Timestamp};
use serde::Serialize;

use crate::row::{Columns, bigint};
use crate::{Db, Result, StepRef};

/// A staging object that a saved step names from now on.
#[derive(Debug, Clone)]
pub struct NewStaging {
    /// Its number within the step.
    pub ordinal: u64,
    /// Its name in the record store.
    pub object_key: String,
    /// Rows in it.
    pub row_count: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// A staging object, in the order of saving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingRow {
    /// Its name in the record store.
    pub object_key: String,
    /// Rows in it.
    pub row_count: u64,
}

impl Db {
    /// Saves progress and names the staging objects it rests on; with a receipt,
    /// ends the step. A run past its `working` phase refuses.
    ///
    /// # Errors
    /// [`crate::Error::Lost`] if another attempt holds the step or the run has moved on.
    pub async fn save_pull_step<R: Serialize + Sync>(
        &self,
        step: &StepRef,
        token: &str,
        progress: &[u8],
        staging: &[NewStaging],
        receipt: Option<&R>,
    ) -> Result<()> {
        let now = Timestamp::now().0;
        let mut tx = self.writer.begin().await?;
        self.save_progress(&mut tx, step, token, progress, receipt)
            .await?;
        for object in staging {
            sqlx::query(
                "INSERT INTO staging_objects (pull_id, step, ordinal, object_key, row_count, size_bytes, saved_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(&step.run_id)
            .bind(&step.name)
            .bind(bigint(object.ordinal))
            .bind(&object.object_key)
            .bind(bigint(object.row_count))
            .bind(bigint(object.size_bytes))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The staging objects of a pull, in the order of saving.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn staging(&self, pull: PullId) -> Result<Vec<StagingRow>> {
        let rows = sqlx::query(
            "SELECT object_key, row_count FROM staging_objects WHERE pull_id = $1 ORDER BY saved_at, step, ordinal",
        )
        .bind(pull.to_string())
        .fetch_all(&self.writer)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StagingRow {
                    object_key: row.text("object_key")?,
                    row_count: row.count("row_count")?,
                })
            })
            .collect()
    }
}

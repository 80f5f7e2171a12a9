//! What the finished steps of a run have left: receipts, and the progress they saved last.

use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Db, Result};

impl Db {
    /// The receipts of a run's finished steps whose names begin so, by name.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if one is not an `R`.
    pub async fn step_receipts<R: DeserializeOwned>(
        &self,
        run_id: &str,
        prefix: &str,
    ) -> Result<Vec<(String, R)>> {
        let rows = self.finished(run_id, prefix, "receipt").await?;
        let receipt = |(name, row): (String, AnyRow)| Ok((name, row.json("receipt")?));
        rows.into_iter().map(receipt).collect()
    }

    /// The saved progress of a run's finished steps whose names begin so, by name.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the key is not the one it was sealed with.
    pub async fn finished_progress(
        &self,
        run_id: &str,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for (name, row) in self.finished(run_id, prefix, "progress_sealed").await? {
            let Some(sealed) = row.raw::<Option<String>>("progress_sealed")? else {
                continue;
            };
            let progress = self.open_progress(run_id, &name, &sealed)?;
            found.push((name, progress));
        }
        Ok(found)
    }

    /// A run's finished steps whose names begin so, by name, with one column of each.
    async fn finished(
        &self,
        run_id: &str,
        prefix: &str,
        column: &str,
    ) -> Result<Vec<(String, AnyRow)>> {
        let text = format!(
            "SELECT name, {column} FROM steps WHERE run_id = $1 AND state = 'done' ORDER BY name"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(run_id)
            .fetch_all(&self.writer)
            .await?;
        let mut found = Vec::new();
        for row in rows {
            let name = row.text("name")?;
            if name.starts_with(prefix) {
                found.push((name, row));
            }
        }
        Ok(found)
    }
}

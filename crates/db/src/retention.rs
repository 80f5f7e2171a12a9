//! What is forgotten of runs that ended long ago, and which exports' files may be
//! looked through for what was left over.

use std::collections::HashMap;

use model::{DestinationId, ExportId, Timestamp};

use crate::row::Columns;
use crate::{Db, Result};

/// Details of runs that ended before $1, by table: the runs themselves stay, with
/// their counts, types and publications, so that accounts still add up and a retry
/// still names what it retries. An export whose publication is undecided keeps
/// everything.
const FORGET: [&str; 8] = [
    "DELETE FROM steps WHERE run_id IN (SELECT steps.run_id FROM steps JOIN pulls ON pulls.id = steps.run_id \
     WHERE pulls.state NOT IN ('queued', 'running') AND pulls.finished_at < $1 LIMIT $2)",
    "DELETE FROM steps WHERE run_id IN (SELECT steps.run_id FROM steps JOIN exports ON exports.id = steps.run_id \
     WHERE exports.state NOT IN ('queued', 'running') AND exports.finished_at < $1 \
     AND COALESCE(exports.error_code, '') <> 'publish_undecided' LIMIT $2)",
    "DELETE FROM staging_objects WHERE pull_id IN (SELECT pulls.id FROM staging_objects JOIN pulls \
     ON pulls.id = staging_objects.pull_id WHERE pulls.state NOT IN ('queued', 'running') \
     AND pulls.finished_at < $1 LIMIT $2)",
    "DELETE FROM export_spans WHERE export_id IN (SELECT exports.id FROM export_spans JOIN exports \
     ON exports.id = export_spans.export_id WHERE exports.state NOT IN ('queued', 'running') \
     AND exports.finished_at < $1 AND COALESCE(exports.error_code, '') <> 'publish_undecided' LIMIT $2)",
    "DELETE FROM parts WHERE export_id IN (SELECT exports.id FROM parts JOIN exports \
     ON exports.id = parts.export_id WHERE exports.state NOT IN ('queued', 'running') \
     AND exports.finished_at < $1 AND COALESCE(exports.error_code, '') <> 'publish_undecided' LIMIT $2)",
    "DELETE FROM run_triggers WHERE run_id IN (SELECT run_triggers.run_id FROM run_triggers JOIN \
     (SELECT id, state, finished_at FROM pulls UNION ALL SELECT id, state, finished_at FROM exports) AS runs \
     ON runs.id = run_triggers.run_id WHERE runs.state NOT IN ('queued', 'running') \
     AND runs.finished_at < $1 LIMIT $2)",
    "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE created_at < $1 LIMIT $2)",
    // The latest test of a destination stays: it says why it is disabled.
    "DELETE FROM probes WHERE id IN (SELECT probes.id FROM probes WHERE probes.finished_at < $1 AND EXISTS \
     (SELECT 1 FROM probes AS later WHERE later.destination_id = probes.destination_id \
     AND later.kind = probes.kind AND later.id > probes.id) LIMIT $2)",
];

impl Db {
    /// Forgets details of runs that ended before `before`, in transactions of
    /// about `limit` rows. Returns how many rows went and whether there may be
    /// more.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn forget_details(&self, before: Timestamp, limit: u32) -> Result<(u64, bool)> {
        let (mut forgotten, mut more) = (0, false);
        for text in FORGET {
            let gone = sqlx::query(text)
                .bind(before.0)
                .bind(i64::from(limit))
                .execute(&self.writer)
                .await?
                .rows_affected();
            forgotten += gone;
            more |= gone >= u64::from(limit);
        }
        Ok((forgotten, more))
    }

    /// The exports of a destination, and of each whether it ended before `before`
    /// and can publish nothing any more: files of it that no publication names are
    /// left over then. One that is undecided may stand under its number until the
    /// destination has passed that.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn exports_over(
        &self,
        destination: DestinationId,
        before: Timestamp,
    ) -> Result<HashMap<ExportId, bool>> {
        let rows = sqlx::query(
            "SELECT exports.id AS id, CASE WHEN exports.state NOT IN ('queued', 'running') AND exports.finished_at < $1 \
             AND (COALESCE(exports.error_code, '') <> 'publish_undecided' \
             OR COALESCE(exports.plan_number, 0) <= destinations.last_publication) THEN 1 ELSE 0 END AS is_over \
             FROM exports JOIN destinations ON destinations.id = exports.destination_id WHERE destinations.id = $2",
        )
        .bind(before.0)
        .bind(destination.to_string())
        .fetch_all(&self.writer)
        .await?;
        rows.iter()
            .map(|row| Ok((row.word("id")?, row.flag("is_over")?)))
            .collect()
    }
}

//! Leaving alone: how long a destination waits after a failed export, and which of
//! its connections automatic plans leave out.

use std::time::Duration;

use model::{ConnectionId, ExportId, PatientId, Timestamp};

use crate::Result;
use crate::row::{Columns, bigint};

/// How long whoever failed is left alone: at first, doubling up to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub max: Duration,
}

impl Default for BackOff {
    /// One minute, up to six hours.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(60),
            max: Duration::from_secs(6 * 3600),
        }
    }
}

impl BackOff {
    /// The time after so many failures in a row.
    #[must_use]
    pub fn after(self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(20);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// The condition that `connections` is held back from the destination whose id is
/// the given expression; `$now` stands for the time's bind.
pub(crate) fn is_held(destination: &str, now: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM holds WHERE holds.destination_id = {destination} \
         AND holds.connection_id = connections.id AND ((holds.reason = 'cancelled' \
         AND holds.head_seq >= connections.head_seq) OR (holds.reason = 'failed' AND holds.not_before > {now})))"
    )
}

/// The condition that nobody has asked for another run of the destination meanwhile:
/// whoever did wants it to leave nothing out.
const NOBODY_WAITS: &str = "NOT EXISTS (SELECT 1 FROM exports AS other \
     WHERE other.destination_id = exports.destination_id AND other.id <> exports.id AND other.state = 'queued')";

/// Holds what a cancelled export had planned, and what it had not come to plan,
/// until there is more of it.
pub(crate) async fn hold_cancelled(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    export_id: &str,
) -> Result<()> {
    let text = format!(
        "INSERT INTO holds (destination_id, connection_id, reason, failures, not_before, head_seq) \
         SELECT exports.destination_id, connections.id, 'cancelled', 0, 0, COALESCE((SELECT export_spans.to_seq \
         FROM export_spans WHERE export_spans.export_id = exports.id AND export_spans.plan_id = exports.plan_id \
         AND export_spans.connection_id = connections.id), connections.head_seq) FROM exports \
         JOIN marks ON marks.destination_id = exports.destination_id \
         JOIN connections ON connections.id = marks.connection_id WHERE exports.id = $1 \
         AND {} AND {NOBODY_WAITS} ON CONFLICT (destination_id, connection_id) DO UPDATE SET reason = excluded.reason, \
         failures = 0, not_before = 0, head_seq = excluded.head_seq",
        crate::export_patients::is_for("exports.id")
    );
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(export_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Holds the connections whose chunks failed, each for its own time.
pub(crate) async fn hold_failed(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    export: ExportId,
    back_off: BackOff,
    now: Timestamp,
) -> Result<()> {
    let text = format!(
        "SELECT DISTINCT exports.destination_id AS destination_id, export_spans.connection_id AS connection_id, \
         COALESCE(holds.failures, 0) AS failures FROM export_spans JOIN exports ON exports.id = export_spans.export_id \
         LEFT JOIN holds ON holds.destination_id = exports.destination_id \
         AND holds.connection_id = export_spans.connection_id \
         WHERE export_spans.export_id = $1 AND export_spans.plan_id = exports.plan_id \
         AND export_spans.state <> 'delivered' AND {NOBODY_WAITS}"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(export.to_string())
        .fetch_all(&mut **tx)
        .await?;
    for row in &rows {
        let failures = row.count("failures")? + 1;
        sqlx::query(
            "INSERT INTO holds (destination_id, connection_id, reason, failures, not_before, head_seq) \
             VALUES ($1, $2, 'failed', $3, $4, 0) ON CONFLICT (destination_id, connection_id) DO UPDATE SET \
             reason = excluded.reason, failures = excluded.failures, not_before = excluded.not_before",
        )
        .bind(row.text("destination_id")?)
        .bind(row.word::<ConnectionId>("connection_id")?.to_string())
        .bind(bigint(failures))
        .bind(now.after(back_off.after(failures)).0)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Ends all waiting of a destination, or that of some patients' records for it:
/// somebody asks for it, or has mended it.
pub(crate) async fn clear(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    destination_id: &str,
    patients: &[PatientId],
) -> Result<()> {
    sqlx::query("UPDATE destinations SET failures = 0, not_before = 0 WHERE id = $1")
        .bind(destination_id)
        .execute(&mut **tx)
        .await?;
    if patients.is_empty() {
        sqlx::query("DELETE FROM holds WHERE destination_id = $1")
            .bind(destination_id)
            .execute(&mut **tx)
            .await?;
    }
    for patient in patients {
        sqlx::query(
            "DELETE FROM holds WHERE destination_id = $1 AND connection_id IN \
             (SELECT id FROM connections WHERE patient_id = $2)",
        )
        .bind(destination_id)
        .bind(patient.to_string())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_six_hours() {
        let back_off = BackOff::default();
        assert_eq!(
            [1, 2, 3, 9, 10, 99].map(|n| back_off.after(n).as_secs() / 60),
            [1, 2, 4, 256, 360, 360]
        );
        // A destination that refuses everything is tried at most 15 times a day.
        let (mut runs, mut at) = (0, Duration::ZERO);
        while at < Duration::from_secs(24 * 3600) {
            runs += 1;
            at += back_off.after(runs);
        }
        assert!(runs <= 15, "{runs}");
    }
}

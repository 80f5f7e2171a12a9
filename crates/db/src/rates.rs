//! The pace of a source, which all workers share: turns, one after the other, leased a
//! few at a time. `rates/rule.rs` says how its throttling slows it down, and its use
//! speeds it up again.

mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::{SourceId, Timestamp};
use sqlx::any::AnyRow;

pub use self::rule::{Lease, SourceRate, Throttled, TurnsAsked};
use crate::row::{Columns, bigint};
use crate::{Db, Result};

/// The columns of a rate, which need not be there.
pub(crate) const RATE_COLUMNS: &str = "COALESCE(next_at, 0) AS next_at, milli_per_second, \
     COALESCE(growth_milli, 0) AS growth_milli, COALESCE(throttled_at, 0) AS throttled_at, \
     COALESCE(held_until, 0) AS held_until, request_us";

impl SourceRate {
    pub(crate) fn read(row: &AnyRow) -> Result<Self> {
        Ok(Self {
            next_at: row.time("next_at")?,
            milli_per_second: row.optional_count("milli_per_second")?,
            growth_milli: row.count("growth_milli")?,
            throttled_at: row.time("throttled_at")?,
            held_until: row.time("held_until")?,
            request_us: row.optional_count("request_us")?,
        })
    }
}

impl Db {
    /// Leases the next turns of a subject: so many as the rate has in the span that is
    /// asked for, each an interval after the one before. A turn that is not used is
    /// lost.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn lease_turns(&self, subject: &str, asked: &TurnsAsked) -> Result<Lease> {
        let mut tx = self.writer.begin().await?;
        let mut rate = lock_rate(&mut tx, subject).await?;
        let lease = rate.lease(asked, Timestamp::now());
        if !matches!(lease, Lease::Later { .. }) {
            save_rate(&mut tx, subject, &rate).await?;
            tx.commit().await?;
        }
        Ok(lease)
    }

    /// Notes that a subject asked to be left alone, or to be asked less often: what is
    /// left of its rate. Of many who say so at once, one counts.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn throttle(&self, subject: &str, throttled: &Throttled) -> Result<SourceRate> {
        let mut tx = self.writer.begin().await?;
        let mut rate = lock_rate(&mut tx, subject).await?;
        rate.throttle(throttled, Timestamp::now());
        save_rate(&mut tx, subject, &rate).await?;
        tx.commit().await?;
        Ok(rate)
    }

    /// The rates of the sources that have been paced, by source.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn source_rates(&self) -> Result<BTreeMap<SourceId, SourceRate>> {
        let text = format!("SELECT subject_id, {RATE_COLUMNS} FROM rates");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| Ok((row.word("subject_id")?, SourceRate::read(row)?)))
            .collect()
    }

    /// The rate of a source; that of one which was never paced holds nothing back.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn source_rate(&self, source: SourceId) -> Result<SourceRate> {
        let text = format!("SELECT {RATE_COLUMNS} FROM rates WHERE subject_id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(source.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.map_or_else(|| Ok(SourceRate::default()), |row| SourceRate::read(&row))
    }
}

/// Locks the rate of a subject, which is made if there is none.
async fn lock_rate(tx: &mut sqlx::Transaction<'_, sqlx::Any>, subject: &str) -> Result<SourceRate> {
    let text = format!(
        "INSERT INTO rates (subject_id, next_at) VALUES ($1, 0) ON CONFLICT (subject_id) \
         DO UPDATE SET next_at = rates.next_at RETURNING {RATE_COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(subject)
        .fetch_one(&mut **tx)
        .await?;
    SourceRate::read(&row)
}

async fn save_rate(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    subject: &str,
    rate: &SourceRate,
) -> Result<()> {
    sqlx::query(
        "UPDATE rates SET next_at = $1, milli_per_second = $2, growth_milli = $3, throttled_at = $4, \
         held_until = $5, request_us = $6 WHERE subject_id = $7",
    )
    .bind(rate.next_at.0)
    .bind(rate.milli_per_second.map(bigint))
    .bind(bigint(rate.growth_milli))
    .bind(rate.throttled_at.0)
    .bind(rate.held_until.0)
    .bind(rate.request_us.map(bigint))
    .bind(subject)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets what throttling has left of a source's rate: the operator has set another.
pub(crate) async fn forget_throttling(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    source: SourceId,
) -> Result<()> {
    sqlx::query("UPDATE rates SET milli_per_second = NULL, held_until = 0 WHERE subject_id = $1")
        .bind(source.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

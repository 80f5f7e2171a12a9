//! Rates that all workers share: turns, one after the other, leased a few at a time.

use std::time::Duration;

use model::Timestamp;

use crate::row::Columns;
use crate::{Db, Result};

impl Db {
    /// Leases the next `count` turns of a subject, each `interval` after the one
    /// before: returns when the first is. A turn that is not used is lost.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn lease_turns(
        &self,
        subject: &str,
        interval: Duration,
        count: u32,
    ) -> Result<Timestamp> {
        let span = i64::try_from((interval * count).as_micros()).unwrap_or(i64::MAX);
        let row = sqlx::query(
            "INSERT INTO rates (subject_id, next_at) VALUES ($1, CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) \
             ON CONFLICT (subject_id) DO UPDATE SET next_at = CASE WHEN rates.next_at > CAST($2 AS BIGINT) \
             THEN rates.next_at ELSE CAST($2 AS BIGINT) END + CAST($3 AS BIGINT) RETURNING next_at",
        )
        .bind(subject)
        .bind(Timestamp::now().0)
        .bind(span)
        .fetch_one(&self.writer)
        .await?;
        Ok(Timestamp(row.time("next_at")?.0 - span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    crate::on_both!(
        turns_of_many_workers_do_not_overlap,
        a_turn_is_never_in_the_past
    );

    async fn turns_of_many_workers_do_not_overlap(database: TestDb) {
        let interval = Duration::from_millis(200);
        let tasks = (0..8).map(|_| {
            let db = database.db.clone();
            tokio::spawn(async move {
                let mut first = Vec::new();
                for _ in 0..10 {
                    first.push(db.lease_turns("src_a", interval, 3).await.unwrap().0);
                }
                first
            })
        });
        let mut first: Vec<i64> = futures::future::join_all(tasks)
            .await
            .into_iter()
            .flat_map(|of| of.unwrap())
            .collect();
        first.sort_unstable();
        assert_eq!(first.len(), 80);
        let apart = first
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .min()
            .unwrap();
        assert!(apart >= 600_000, "{apart} µs");
        // Another subject has turns of its own.
        let other = database.db.lease_turns("src_b", interval, 1).await.unwrap();
        assert!(other.0 < first[79]);
    }

    async fn a_turn_is_never_in_the_past(database: TestDb) {
        let interval = Duration::from_millis(1);
        for _ in 0..3 {
            let before = Timestamp::now();
            let turn = database.db.lease_turns("src_a", interval, 1).await.unwrap();
            assert!(turn >= before);
        }
    }
}

//! References of a connection that lead nowhere: a source answers so for the same ones
//! in pull after pull, and each answer costs a request.

use std::collections::BTreeSet;

use model::{ConnectionId, Timestamp};

use crate::row::Columns;
use crate::{Db, Result};

/// Rows of one statement at most: three values each.
const ROWS_MAX: usize = 500;

impl Db {
    /// Hashes of the targets that were not found since then.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn dangling_references(
        &self,
        connection: ConnectionId,
        since: Timestamp,
    ) -> Result<BTreeSet<u64>> {
        let rows = sqlx::query(
            "SELECT target_hash FROM dangling_references WHERE connection_id = $1 AND asked_at >= $2",
        )
        .bind(connection.to_string())
        .bind(since.0)
        .fetch_all(&self.reader)
        .await?;
        let hashes = rows.iter().map(|row| row.raw::<i64>("target_hash"));
        hashes.map(|hash| hash.map(i64::cast_unsigned)).collect()
    }

    /// Notes that the targets were not found just now, and forgets what was noted
    /// before `since`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn remember_dangling(
        &self,
        connection: ConnectionId,
        hashes: &BTreeSet<u64>,
        since: Timestamp,
    ) -> Result<()> {
        let (connection, now) = (connection.to_string(), Timestamp::now().0);
        let mut tx = self.writer.begin().await?;
        sqlx::query("DELETE FROM dangling_references WHERE connection_id = $1 AND asked_at < $2")
            .bind(&connection)
            .bind(since.0)
            .execute(&mut *tx)
            .await?;
        let hashes: Vec<i64> = hashes.iter().map(|hash| hash.cast_signed()).collect();
        for hashes in hashes.chunks(ROWS_MAX) {
            let rows: Vec<String> = (0..hashes.len())
                .map(|at| format!("($1, ${}, $2)", at + 3))
                .collect();
            let text = format!(
                "INSERT INTO dangling_references (connection_id, target_hash, asked_at) VALUES {} \
                 ON CONFLICT (connection_id, target_hash) DO UPDATE SET asked_at = excluded.asked_at",
                rows.join(", ")
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(&connection)
                .bind(now);
            for hash in hashes {
                query = query.bind(hash);
            }
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Forgets all of a connection.
pub(crate) async fn forget(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: &str,
) -> Result<()> {
    sqlx::query("DELETE FROM dangling_references WHERE connection_id = $1")
        .bind(connection)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    crate::on_both!(what_led_nowhere_is_known_by_connection_for_a_while);

    async fn what_led_nowhere_is_known_by_connection_for_a_while(database: TestDb) {
        let db = &database.db;
        let (one, other) = (ConnectionId::new(), ConnectionId::new());
        let long_ago = Timestamp(0);
        let many: BTreeSet<u64> = (0..1_203).chain([u64::MAX]).collect();
        db.remember_dangling(one, &many, long_ago).await.unwrap();
        let few = BTreeSet::from([7, u64::MAX - 1]);
        db.remember_dangling(other, &few, long_ago).await.unwrap();
        assert_eq!(db.dangling_references(one, long_ago).await.unwrap(), many);
        assert_eq!(db.dangling_references(other, long_ago).await.unwrap(), few);

        let later = Timestamp::now();
        assert!(db.dangling_references(one, later).await.unwrap().is_empty());
        // What is found again not to be there is known on; the rest is forgotten.
        db.remember_dangling(one, &few, later).await.unwrap();
        assert_eq!(db.dangling_references(one, long_ago).await.unwrap(), few);
        assert_eq!(db.dangling_references(other, long_ago).await.unwrap(), few);
        db.remember_dangling(one, &BTreeSet::new(), Timestamp::now())
            .await
            .unwrap();
        assert!(
            db.dangling_references(one, long_ago)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

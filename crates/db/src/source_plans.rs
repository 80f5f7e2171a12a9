//! How a source wants to be asked for a type whose plain search it refuses:
//! learned by a pull, used by the next ones, forgotten after a while, since what a
//! source refuses today it may answer after its next update. The plans may hold
//! codes that the source listed, so they are sealed. And which types it does not
//! filter by `_lastUpdated`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{SourceId, Timestamp};
use seal::Place;

use crate::call::Tx;
use crate::row::Columns;
use crate::{Db, Result};

const PLAN: &str = "source_plans.plan";

/// Forgets which operations a source has refused: they stand among the types, and no
/// type's name begins so.
pub(crate) async fn forget_refusals(tx: &mut Tx<'_>, source: SourceId) -> Result<()> {
    sqlx::query("DELETE FROM source_plans WHERE source_id = $1 AND resource_type LIKE '$%'")
        .bind(source.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn place(source: SourceId, resource_type: &str) -> String {
    format!("{source}/{resource_type}")
}

impl Db {
    /// Notes what worked at a source for a type, for so long; of an operation, such as
    /// `$everything`, that it is refused.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn remember_source_plan(
        &self,
        source: SourceId,
        resource_type: &str,
        plan: &[u8],
        time_to_live: Duration,
    ) -> Result<()> {
        let now = Timestamp::now();
        let row = place(source, resource_type);
        let sealed = self.keys.seal(
            Place {
                column: PLAN,
                row: &row,
            },
            plan,
        )?;
        sqlx::query(
            "INSERT INTO source_plans (source_id, resource_type, plan_sealed, learned_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (source_id, resource_type) DO UPDATE SET \
             plan_sealed = excluded.plan_sealed, learned_at = excluded.learned_at, expires_at = excluded.expires_at",
        )
        .bind(source.to_string())
        .bind(resource_type)
        .bind(sealed)
        .bind(now.0)
        .bind(now.after(time_to_live).0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Forgets what was noted of a type: the source answers the plain search.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn forget_source_plan(&self, source: SourceId, resource_type: &str) -> Result<()> {
        sqlx::query("DELETE FROM source_plans WHERE source_id = $1 AND resource_type = $2")
            .bind(source.to_string())
            .bind(resource_type)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// What is noted of a source and has not expired, by type.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the key is not the one they were sealed with.
    pub async fn source_plans(&self, source: SourceId) -> Result<BTreeMap<String, Vec<u8>>> {
        let rows = sqlx::query(
            "SELECT resource_type, plan_sealed FROM source_plans WHERE source_id = $1 AND expires_at > $2",
        )
        .bind(source.to_string())
        .bind(Timestamp::now().0)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                let resource_type = row.text("resource_type")?;
                let place = Place {
                    column: PLAN,
                    row: &place(source, &resource_type),
                };
                let plan = self.keys.open(place, &row.text("plan_sealed")?)?;
                Ok((resource_type, plan))
            })
            .collect()
    }

    /// Notes that a source does not filter a type by `_lastUpdated`, for so long.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn remember_unfiltered(
        &self,
        source: SourceId,
        resource_type: &str,
        time_to_live: Duration,
    ) -> Result<()> {
        let now = Timestamp::now();
        sqlx::query(
            "INSERT INTO unfiltered_types (source_id, resource_type, learned_at, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (source_id, resource_type) DO UPDATE SET \
             learned_at = excluded.learned_at, expires_at = excluded.expires_at",
        )
        .bind(source.to_string())
        .bind(resource_type)
        .bind(now.0)
        .bind(now.after(time_to_live).0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The types that a source is known not to filter by `_lastUpdated`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn unfiltered_types(&self, source: SourceId) -> Result<BTreeSet<String>> {
        let rows = sqlx::query(
            "SELECT resource_type FROM unfiltered_types WHERE source_id = $1 AND expires_at > $2",
        )
        .bind(source.to_string())
        .bind(Timestamp::now().0)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| row.text("resource_type")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    crate::on_both!(
        plans_are_kept_by_source_and_type_until_they_expire,
        unfiltered_types_are_kept_by_source_until_they_expire,
    );

    async fn unfiltered_types_are_kept_by_source_until_they_expire(database: TestDb) {
        let (db, day) = (&database.db, Duration::from_secs(86_400));
        let (source, other) = (SourceId::new(), SourceId::new());
        for (of, name, ttl) in [
            (source, "Goal", Duration::ZERO),
            (source, "Flag", Duration::ZERO),
            (source, "Flag", day),
            (other, "Task", day),
        ] {
            db.remember_unfiltered(of, name, ttl).await.unwrap();
        }
        let known = db.unfiltered_types(source).await.unwrap();
        assert_eq!(known, BTreeSet::from(["Flag".to_owned()]));
    }

    async fn plans_are_kept_by_source_and_type_until_they_expire(database: TestDb) {
        let (db, day) = (&database.db, Duration::from_secs(86_400));
        let (source, other) = (SourceId::new(), SourceId::new());
        for (of, name, plan, ttl) in [
            (source, "CarePlan", "old", day),
            (source, "CarePlan", "38717003", day),
            (source, "Goal", "gone", Duration::ZERO),
            (other, "CarePlan", "other", day),
            (source, "Observation", "b", day),
        ] {
            db.remember_source_plan(of, name, plan.as_bytes(), ttl)
                .await
                .unwrap();
        }
        let plans = db.source_plans(source).await.unwrap();
        let expected = [("CarePlan", "38717003"), ("Observation", "b")];
        assert!(
            plans
                .iter()
                .map(|(name, plan)| (name.as_str(), std::str::from_utf8(plan).unwrap()))
                .eq(expected)
        );
        db.forget_source_plan(source, "CarePlan").await.unwrap();
        db.forget_source_plan(source, "CarePlan").await.unwrap();
        assert_eq!(db.source_plans(source).await.unwrap().len(), 1);
        assert_eq!(db.source_plans(other).await.unwrap().len(), 1);
        let stored = sqlx::query("SELECT plan_sealed FROM source_plans WHERE source_id = $1")
            .bind(other.to_string())
            .fetch_one(&db.reader)
            .await
            .unwrap();
        assert!(!stored.text("plan_sealed").unwrap().contains("other"));
    }
}

//! Plans whose publication may stand or not: an attempt to publish was cut off.

use model::{DestinationId, ExportId, RunState};

use crate::row::{Columns, bigint};
use crate::{Db, Result, RunKind};

/// A plan whose publication may stand or not.
#[derive(Debug, Clone)]
pub struct UndecidedPlan {
    /// The export.
    pub export_id: ExportId,
    /// Where to.
    pub destination_id: DestinationId,
    /// Its plan.
    pub plan_id: String,
    /// The number it was to be published under.
    pub number: u64,
    /// Its epoch.
    pub epoch: u64,
}

impl UndecidedPlan {
    fn read(row: &sqlx::any::AnyRow) -> Result<Self> {
        Ok(Self {
            export_id: row.word("id")?,
            destination_id: row.word("destination_id")?,
            plan_id: row.text("plan_id")?,
            number: row.count("plan_number")?,
            epoch: row.count("plan_epoch")?,
        })
    }
}

impl Db {
    /// The plan of a running export some attempt of which has begun to publish:
    /// whether its publication stands may not be known.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn plan_at_commit(&self, export: ExportId) -> Result<Option<UndecidedPlan>> {
        let text = format!(
            "SELECT id, destination_id, plan_id, plan_number, plan_epoch FROM exports \
             WHERE id = $1 AND state = 'running' AND plan_id IS NOT NULL AND (phase = 'committing' OR {})",
            RunKind::Export.is_undecided()
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(export.to_string())
            .fetch_optional(&self.writer)
            .await?;
        row.map(|row| UndecidedPlan::read(&row)).transpose()
    }

    /// Whether a plan's number, if it is taken over already, went to that plan's
    /// own publication.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn decided_plan(&self, plan: &UndecidedPlan) -> Result<Option<bool>> {
        let row = sqlx::query(
            "SELECT export_id, plan_id, burnt FROM publications WHERE destination_id = $1 AND number = $2",
        )
        .bind(plan.destination_id.to_string())
        .bind(bigint(plan.number))
        .fetch_optional(&self.writer)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let is_own = row.text("export_id")? == plan.export_id.to_string()
            && row.text("plan_id")? == plan.plan_id;
        Ok(Some(is_own && !row.flag("burnt")?))
    }

    /// The plan under number `number` of an export that ended without anybody
    /// knowing whether its publication stands.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn undecided_plan(
        &self,
        destination: DestinationId,
        number: u64,
    ) -> Result<Option<UndecidedPlan>> {
        let row = sqlx::query(
            "SELECT id, destination_id, plan_id, plan_number, plan_epoch FROM exports WHERE destination_id = $1 \
             AND state = 'failed' AND error_code = 'publish_undecided' AND plan_number = $2 ORDER BY id DESC LIMIT 1",
        )
        .bind(destination.to_string())
        .bind(bigint(number))
        .fetch_optional(&self.writer)
        .await?;
        row.map(|row| UndecidedPlan::read(&row)).transpose()
    }

    /// How an export ends whose plan was published: completed, or partial where
    /// spans of it failed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn published_state(&self, plan: &UndecidedPlan) -> Result<RunState> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS failed FROM export_spans WHERE export_id = $1 AND plan_id = $2 AND state <> 'delivered'",
        )
        .bind(plan.export_id.to_string())
        .bind(&plan.plan_id)
        .fetch_one(&self.writer)
        .await?;
        Ok(if row.count("failed")? == 0 {
            RunState::Completed
        } else {
            RunState::Partial
        })
    }
}

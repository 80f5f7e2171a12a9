//! What the dispatch loop asks: which runs are due, which are queued, which
//! running ones may have lost their workflow.

use std::time::Duration;

use model::{DestinationId, Timestamp};

use crate::row::Columns;
use crate::{Db, Result, lock};

/// Whether a run is a pull or an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// A pull.
    Pull,
    /// An export.
    Export,
}

impl RunKind {
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Pull => "pulls",
            Self::Export => "exports",
        }
    }

    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Export => "export",
        }
    }

    /// The error code of a run that has lost its workflow, as an expression.
    pub(crate) fn gone_code(self) -> String {
        let undecided = self.is_undecided();
        format!("CASE WHEN {undecided} THEN 'publish_undecided' ELSE 'workflow_gone' END")
    }

    /// The condition that a run's outcome is not known: an attempt has begun to
    /// publish, none has ended it, and one that was cut off may still wake. The
    /// phase does not tell: a run that is put back begins again as `working`.
    pub(crate) fn is_undecided(self) -> &'static str {
        match self {
            Self::Pull => "1 = 0",
            Self::Export => {
                "EXISTS (SELECT 1 FROM steps WHERE steps.run_id = exports.id \
                 AND steps.name LIKE 'publish%' AND steps.state = 'running')"
            }
        }
    }

    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Pull => "connection_id",
            Self::Export => "destination_id",
        }
    }

    pub(crate) fn subject_table(self) -> &'static str {
        match self {
            Self::Pull => "connections",
            Self::Export => "destinations",
        }
    }
}

/// A queued run that wants its workflow started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRun {
    /// Pull or export.
    pub kind: RunKind,
    /// The run.
    pub run_id: String,
    /// The connection's or the destination's id.
    pub subject_id: String,
}

/// A running run that has not moved for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// The run.
    pub run: DueRun,
    /// The workflow run that took it.
    pub workflow_run_id: String,
}

impl OpenRun {
    pub(crate) fn read(kind: RunKind, row: &sqlx::any::AnyRow) -> Result<Self> {
        Ok(Self {
            run: DueRun {
                kind,
                run_id: row.text("id")?,
                subject_id: row.text("subject_id")?,
            },
            workflow_run_id: row.text("workflow_run_id")?,
        })
    }
}

impl Db {
    /// Takes or keeps a lease for `ttl`; false if somebody else holds it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool> {
        let now = Timestamp::now();
        let row = sqlx::query(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET \
             holder = excluded.holder, until = excluded.until WHERE leases.holder = excluded.holder OR leases.until < $4 \
             RETURNING holder",
        )
        .bind(name)
        .bind(holder)
        .bind(now.after(ttl).0)
        .bind(now.0)
        .fetch_optional(&self.writer)
        .await?;
        Ok(row.is_some())
    }

    /// Enabled destinations that lack something which is not held back, have no
    /// open run, may run again, and whose oldest reason is older than `linger`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn due_destinations(&self, linger: Duration) -> Result<Vec<DestinationId>> {
        let now = Timestamp::now();
        let lingered = now.0 - i64::try_from(linger.as_micros()).unwrap_or(0);
        let text = format!(
            "SELECT id FROM destinations WHERE enabled = 1 AND not_before <= $1 \
             AND EXISTS (SELECT 1 FROM marks JOIN connections ON connections.id = marks.connection_id \
             WHERE marks.destination_id = destinations.id AND NOT {}) \
             AND NOT EXISTS (SELECT 1 FROM exports WHERE exports.destination_id = destinations.id \
             AND exports.state IN ('queued', 'running')) \
             AND NOT EXISTS (SELECT 1 FROM pending_triggers WHERE pending_triggers.destination_id = destinations.id \
             GROUP BY destination_id HAVING MIN(first_at) > $2) ORDER BY id",
            crate::holds::is_held("destinations.id", "$1")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now.0)
            .bind(lingered)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(|row| row.word("id")).collect()
    }

    /// The queued runs of a kind, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn queued_runs(&self, kind: RunKind, limit: u32) -> Result<Vec<DueRun>> {
        let text = format!(
            "SELECT id, {} AS subject_id FROM {} WHERE state = 'queued' ORDER BY id LIMIT $1",
            kind.subject(),
            kind.table()
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(DueRun {
                    kind,
                    run_id: row.text("id")?,
                    subject_id: row.text("subject_id")?,
                })
            })
            .collect()
    }

    /// How many runs are queued or running.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn open_run_count(&self) -> Result<u64> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM pulls WHERE state IN ('queued', 'running')) + \
             (SELECT COUNT(*) FROM exports WHERE state IN ('queued', 'running')) AS open_count",
        )
        .fetch_one(&self.writer)
        .await?;
        row.count("open_count")
    }

    /// Whether no run is open and no export is due.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn is_idle(&self) -> Result<bool> {
        // A pull leaves its marks as it ends, and a queued export takes a destination
        // from those that are due: what is open is asked before and after.
        Ok(self.open_run_count().await? == 0
            && self.due_destinations(Duration::ZERO).await?.is_empty()
            && self.open_run_count().await? == 0)
    }

    /// Running runs that nobody has touched for `age`, those apart that were asked
    /// to end.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn still_runs(&self, age: Duration, limit: u32) -> Result<Vec<OpenRun>> {
        let before = Timestamp::now().0 - i64::try_from(age.as_micros()).unwrap_or(0);
        let mut found = Vec::new();
        for kind in [RunKind::Pull, RunKind::Export] {
            let text = format!(
                "SELECT id, {} AS subject_id, workflow_run_id FROM {} WHERE state = 'running' AND updated_at <= $1 \
                 AND cancel_requested_at IS NULL \
                 ORDER BY updated_at LIMIT $2",
                kind.subject(),
                kind.table()
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(before)
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
            for row in &rows {
                found.push(OpenRun::read(kind, row)?);
            }
        }
        Ok(found)
    }

    /// Puts a run whose workflow is gone back into the queue, where the next
    /// workflow takes it up at its saved steps. Where another run of the subject
    /// is queued already, that one will do the work and this one ends as failed.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn requeue_run(&self, open: &OpenRun) -> Result<()> {
        let (table, subject) = (open.run.kind.table(), open.run.kind.subject());
        let now = Timestamp::now().0;
        let back = format!(
            "UPDATE {table} SET state = 'queued', phase = 'working', updated_at = $1 WHERE id = $2 AND state = 'running' \
             AND workflow_run_id = $3 AND NOT EXISTS (SELECT 1 FROM {table} AS other WHERE other.{subject} = $4 \
             AND other.state = 'queued')"
        );
        let mut tx = self.writer.begin().await?;
        lock::subject(&mut tx, open.run.kind, &open.run.subject_id).await?;
        let requeued = sqlx::query(sqlx::AssertSqlSafe(back))
            .bind(now)
            .bind(&open.run.run_id)
            .bind(&open.workflow_run_id)
            .bind(&open.run.subject_id)
            .execute(&mut *tx)
            .await?;
        if requeued.rows_affected() == 0 {
            let end = format!(
                "UPDATE {table} SET state = 'failed', phase = 'done', error_code = {}, finished_at = $1, \
                 updated_at = $1 WHERE id = $2 AND state = 'running' AND workflow_run_id = $3",
                open.run.kind.gone_code()
            );
            sqlx::query(sqlx::AssertSqlSafe(end))
                .bind(now)
                .bind(&open.run.run_id)
                .bind(&open.workflow_run_id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

//! Claiming: the holder of a workflow id takes the run of its connection or
//! destination.

use model::{ConnectionId, DestinationId, ExportId, PullId, Timestamp};

use crate::row::Columns;
use crate::{Db, Result, RunKind, lock};

impl Db {
    /// Gives the pull of a connection to a workflow: the one that is running, or
    /// else the one that is queued. An attempt that repeats gets the pull it had.
    ///
    /// The holder of the workflow id is alone: a run that another workflow had
    /// taken has lost it (terminated, reset, or gone with Temporal's data). Where
    /// another run is queued that one will do the work, and the old one ends;
    /// otherwise the holder takes it over and goes on at its saved steps.
    ///
    /// A queued pull stays queued while as many pulls of its source are at work as that
    /// is to bear: Dispatch starts it later.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn claim_pull(
        &self,
        connection: ConnectionId,
        workflow_run_id: &str,
    ) -> Result<Option<PullId>> {
        self.claim(RunKind::Pull, &connection.to_string(), workflow_run_id)
            .await
    }

    /// As [`Self::claim_pull`], the export of a destination. Whether an export
    /// that ends here in its last phase has published is decided when the next
    /// plan reads the slot.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn claim_export(
        &self,
        destination: DestinationId,
        workflow_run_id: &str,
    ) -> Result<Option<ExportId>> {
        self.claim(RunKind::Export, &destination.to_string(), workflow_run_id)
            .await
    }

    async fn claim<Id: std::str::FromStr>(
        &self,
        kind: RunKind,
        subject_id: &str,
        workflow_run_id: &str,
    ) -> Result<Option<Id>> {
        let (table, subject) = (kind.table(), kind.subject());
        let now = Timestamp::now().0;
        let lost = format!(
            "UPDATE {table} SET state = 'failed', phase = 'done', error_code = {}, finished_at = $1, updated_at = $1 \
             WHERE {subject} = $2 AND state = 'running' AND workflow_run_id <> $3 AND EXISTS \
             (SELECT 1 FROM {table} AS other WHERE other.{subject} = $2 AND other.state = 'queued')",
            kind.gone_code()
        );
        let over = format!(
            "UPDATE {table} SET workflow_run_id = $3, phase = 'working', updated_at = $1 \
             WHERE {subject} = $2 AND state = 'running' AND workflow_run_id <> $3"
        );
        let queued = format!(
            "UPDATE {table} SET state = 'running', workflow_run_id = $3, started_at = COALESCE(started_at, $1), \
             updated_at = $1 WHERE {subject} = $2 AND state = 'queued' AND NOT EXISTS \
             (SELECT 1 FROM {table} AS open WHERE open.{subject} = $2 AND open.state = 'running') AND {}",
            is_borne(kind)
        );
        let mut tx = self.writer.begin().await?;
        if kind == RunKind::Pull {
            lock::source_of(&mut tx, subject_id).await?;
        }
        lock::subject(&mut tx, kind, subject_id).await?;
        for text in [lost, over, queued] {
            sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(now)
                .bind(subject_id)
                .bind(workflow_run_id)
                .execute(&mut *tx)
                .await?;
        }
        let taken = format!("SELECT id FROM {table} WHERE {subject} = $1 AND state = 'running'");
        let row = sqlx::query(sqlx::AssertSqlSafe(taken))
            .bind(subject_id)
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        row.map(|row| row.word("id")).transpose()
    }
}

/// The condition that a source bears one more pull. The locked source of `$2` has no
/// other claim meanwhile.
fn is_borne(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Export => "1 = 1",
        RunKind::Pull => {
            "(kind <> 'fetch' OR NOT EXISTS (SELECT 1 FROM connections JOIN sources \
             ON sources.id = connections.source_id WHERE connections.id = $2 AND sources.concurrent_pulls <= \
             (SELECT COUNT(*) FROM pulls AS other JOIN connections AS home ON home.id = other.connection_id \
             WHERE home.source_id = sources.id AND other.state = 'running' AND other.kind = 'fetch')))"
        }
    }
}

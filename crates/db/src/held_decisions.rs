//! Deciding on held deletions: accepting them, or discarding them.

use model::{ConnectionId, HeldState, PullId, PullKind, Timestamp, Trigger};

use crate::HeldDeletes;
use crate::exports::add_trigger;
use crate::held::IS_OPEN;
use crate::pull_requests::queue_pull;
use crate::row::Columns;
use crate::{Db, Error, Result, RunKind, lock};

impl Db {
    /// Accepts the deletions that a pull held back: queues the pull that settles
    /// them.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown pull; [`Error::Conflict`] where nothing
    /// waits for a decision, or a pull of the connection is queued already, which
    /// will look again.
    pub async fn accept_deletes(&self, pull: PullId) -> Result<PullId> {
        let (accepting, now) = (PullId::new(), Timestamp::now());
        let mut tx = self.writer.begin().await?;
        lock::subject_of(&mut tx, RunKind::Pull, &pull.to_string()).await?;
        let text = format!(
            "UPDATE held_deletes SET state = 'accepted', accepted_by = $1, decided_at = $2 \
             WHERE pull_id = $3 AND {IS_OPEN} RETURNING connection_id"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(accepting.to_string())
            .bind(now.0)
            .bind(pull.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            tx.rollback().await?;
            return Err(self.not_waiting(pull).await);
        };
        let connection: ConnectionId = row.word("connection_id")?;
        if !queue_pull(&mut tx, accepting, connection, PullKind::AcceptDeletes).await? {
            tx.rollback().await?;
            return Err(Error::Conflict {
                what: format!(
                    "a pull of connection {connection} is queued and will look again: wait for it, then decide on what \
                     it holds (`chartlift pull held`)"
                ),
            });
        }
        add_trigger(&mut tx, &accepting.to_string(), Trigger::Manual).await?;
        self.commit(tx, accepting).await?;
        Ok(accepting)
    }

    /// Discards the deletions that a pull held back: they are forgotten, and the
    /// next pull looks again. Returns them, so that their object can be removed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown pull; [`Error::Conflict`] where nothing
    /// waits for a decision.
    pub async fn discard_deletes(&self, pull: PullId) -> Result<HeldDeletes> {
        let text = format!(
            "UPDATE held_deletes SET state = 'discarded', decided_at = $1 WHERE pull_id = $2 AND {IS_OPEN}"
        );
        let mut tx = self.writer.begin().await?;
        lock::subject_of(&mut tx, RunKind::Pull, &pull.to_string()).await?;
        let done = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(Timestamp::now().0)
            .bind(pull.to_string())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            tx.rollback().await?;
            return Err(self.not_waiting(pull).await);
        }
        self.commit(tx, pull).await?;
        self.held_deletes(pull).await?.ok_or(Error::Lost)
    }

    /// Why nothing of a pull waits for a decision.
    async fn not_waiting(&self, pull: PullId) -> Error {
        let held = match self.held_deletes(pull).await {
            Ok(held) => held,
            Err(error) => return error,
        };
        let Some(held) = held else {
            return match self.pull(pull).await {
                Ok(_) => Error::Conflict {
                    what: format!(
                        "pull {pull} holds no deletions: `chartlift pull held` lists those that do"
                    ),
                },
                Err(error) => error,
            };
        };
        let what = match held.state {
            HeldState::Accepted => format!(
                "the deletions of pull {pull} were accepted already; pull {} settles them",
                held.accepted_by
                    .map(|id| id.to_string())
                    .unwrap_or_default()
            ),
            HeldState::Discarded => {
                format!(
                    "the deletions of pull {pull} were discarded already; the next pull looks again"
                )
            }
            HeldState::Replaced => format!(
                "a later pull has looked again since pull {pull}: `chartlift pull held` shows what it holds"
            ),
            HeldState::Held => format!("the deletions of pull {pull} have just changed: try again"),
        };
        Error::Conflict { what }
    }
}

//! Asking for a pull: it is queued, or joins the one that is.

use model::{ConnectionId, PullId, PullKind, RunState, Timestamp, Trigger};

use crate::exports::add_trigger;
use crate::row::Columns;
use crate::{Db, Error, Result, lock};

/// What a pull is asked for beside.
#[derive(Debug, Clone, Copy, Default)]
struct Wish {
    /// To ask for everything.
    full: bool,
    /// To make up for another.
    retry_of: Option<PullId>,
}

impl Db {
    /// Asks for a pull: joins the queued one of the connection, or queues one.
    /// Returns the run that will do the work.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown connection; [`Error::Conflict`] for one
    /// that is disabled or no longer active.
    pub async fn request_pull(&self, connection: ConnectionId, trigger: Trigger) -> Result<PullId> {
        let wish = Wish::default();
        self.queue_fetch(connection, trigger, wish).await
    }

    /// As [`Db::request_pull`], for a pull that asks for everything; the queued one, if
    /// it is joined, does so too.
    ///
    /// # Errors
    /// As [`Db::request_pull`].
    pub async fn request_full_pull(
        &self,
        connection: ConnectionId,
        trigger: Trigger,
    ) -> Result<PullId> {
        let wish = Wish {
            full: true,
            ..Wish::default()
        };
        self.queue_fetch(connection, trigger, wish).await
    }

    async fn queue_fetch(
        &self,
        connection: ConnectionId,
        trigger: Trigger,
        wish: Wish,
    ) -> Result<PullId> {
        let summary = self.connection(connection).await?.summary;
        if !summary.enabled || summary.status != model::ConnectionStatus::Active {
            return Err(Error::Conflict {
                what: format!(
                    "connection {connection} is {}: it cannot be pulled",
                    if summary.enabled {
                        summary.status.as_str()
                    } else {
                        "disabled, or its source is"
                    }
                ),
            });
        }
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, summary.id).await?;
        let joined = join_fetch(&mut tx, connection).await?;
        add_trigger(&mut tx, &joined.to_string(), trigger).await?;
        if wish.full {
            sqlx::query("UPDATE pulls SET asks_full = 1 WHERE id = $1")
                .bind(joined.to_string())
                .execute(&mut *tx)
                .await?;
        }
        if let Some(of) = wish.retry_of {
            sqlx::query(
                "UPDATE pulls SET retry_of = $1 WHERE id = $2 AND retry_of IS NULL AND id <> $1",
            )
            .bind(of.to_string())
            .bind(joined.to_string())
            .execute(&mut *tx)
            .await?;
        }
        self.commit(tx, joined).await?;
        Ok(joined)
    }

    /// Asks for a pull that makes up for one that did not get everything: joins
    /// the queued one of the connection, or queues one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a pull that is open, has
    /// completed or settles accepted deletions, and as for [`Db::request_pull`].
    pub async fn retry_pull(&self, id: PullId) -> Result<PullId> {
        let pull = self.pull(id).await?;
        let refused = match (pull.kind, pull.state) {
            (PullKind::AcceptDeletes, _) => Some(
                "settles accepted deletions: `chartlift pull held` lists those that wait"
                    .to_owned(),
            ),
            (_, RunState::Queued | RunState::Running) => Some("has not ended yet".to_owned()),
            (_, RunState::Completed) => {
                Some("got everything: `chartlift pull start` asks for another".to_owned())
            }
            (_, RunState::Partial | RunState::Failed | RunState::Cancelled) => None,
        };
        if let Some(why) = refused {
            return Err(Error::Conflict {
                what: format!("pull {id} {why}"),
            });
        }
        let wish = Wish {
            full: pull.full,
            retry_of: Some(id),
        };
        self.queue_fetch(pull.connection_id, Trigger::Retry, wish)
            .await
    }
}

/// Queues a pull of a locked connection; false where one is queued already.
pub(crate) async fn queue_pull(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: PullId,
    connection: ConnectionId,
    kind: PullKind,
) -> Result<bool> {
    let now = Timestamp::now();
    let queued = sqlx::query(
        "INSERT INTO pulls (id, connection_id, kind, state, phase, pages, counts, created_at, updated_at) \
         VALUES ($1, $2, $3, 'queued', 'working', 0, '{}', $4, $4) \
         ON CONFLICT (connection_id) WHERE state = 'queued' DO NOTHING",
    )
    .bind(id.to_string())
    .bind(connection.to_string())
    .bind(kind.as_str())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    let is_new = queued.rows_affected() > 0;
    if is_new && kind == PullKind::Fetch {
        // What its schedule counts from.
        sqlx::query("UPDATE connections SET last_pull_at = $1 WHERE id = $2")
            .bind(now.0)
            .bind(connection.to_string())
            .execute(&mut **tx)
            .await?;
    }
    Ok(is_new)
}

/// Queues a pull that asks the source, or joins the one that is queued.
async fn join_fetch(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    connection: ConnectionId,
) -> Result<PullId> {
    let id = PullId::new();
    if queue_pull(tx, id, connection, PullKind::Fetch).await? {
        return Ok(id);
    }
    let row =
        sqlx::query("SELECT id, kind FROM pulls WHERE connection_id = $1 AND state = 'queued'")
            .bind(connection.to_string())
            .fetch_one(&mut **tx)
            .await?;
    let queued: PullId = row.word("id")?;
    match row.word("kind")? {
        PullKind::Fetch => Ok(queued),
        // A fetch would look again and replace what was accepted.
        PullKind::AcceptDeletes => Err(Error::Conflict {
            what: format!(
                "pull {queued}, which settles accepted deletions of connection {connection}, is queued: ask again when it \
                 has ended"
            ),
        }),
    }
}

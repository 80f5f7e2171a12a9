//! Where a queued pull stands.

use model::PullId;

use crate::row::Columns;
use crate::{Db, Result};

/// What a queued pull waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullQueue {
    /// Pulls of the same source that are started before it.
    pub ahead: u64,
    /// Pulls of the same source that are at work.
    pub at_work: u64,
    /// The pull at work of the same connection, which it follows.
    pub behind: Option<PullId>,
}

impl Db {
    /// What a pull waits for; none if it is not queued.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn pull_queue(&self, pull: PullId) -> Result<Option<PullQueue>> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM pulls AS other JOIN connections AS home ON home.id = other.connection_id \
             WHERE other.state = 'queued' AND other.kind = 'fetch' AND other.id < pulls.id \
             AND home.source_id = connections.source_id AND NOT EXISTS (SELECT 1 FROM pulls AS own \
             WHERE own.connection_id = other.connection_id AND own.state = 'running')) AS ahead, \
             (SELECT COUNT(*) FROM pulls AS other JOIN connections AS home ON home.id = other.connection_id \
             WHERE other.state = 'running' AND other.kind = 'fetch' \
             AND home.source_id = connections.source_id) AS at_work, \
             (SELECT MAX(own.id) FROM pulls AS own WHERE own.connection_id = pulls.connection_id \
             AND own.state = 'running') AS behind \
             FROM pulls JOIN connections ON connections.id = pulls.connection_id \
             WHERE pulls.id = $1 AND pulls.state = 'queued'",
        )
        .bind(pull.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.map(|row| {
            Ok(PullQueue {
                ahead: row.count("ahead")?,
                at_work: row.count("at_work")?,
                behind: row.optional_word("behind")?,
            })
        })
        .transpose()
    }
}

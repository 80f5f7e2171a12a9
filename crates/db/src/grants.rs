//! Connections that begin with a patient's grant, connecting again, and what was
//! granted.

use model::ConnectionId;
use seal::Place;

use crate::connection_summaries::not_found;
use crate::row::Columns;
use crate::tokens::{NewToken, forget_token};
use crate::type_watermarks::forget_changes;
use crate::{Db, NewConnection, Result};

impl Db {
    /// Adds a connection with the tokens of a patient's grant.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] if the patient is connected to the source already.
    pub async fn add_connection_with_grant(
        &self,
        new: &NewConnection,
        grant: &NewToken,
    ) -> Result<ConnectionId> {
        let id = ConnectionId::new();
        let mut tx = self.writer.begin().await?;
        self.insert_connection(&mut tx, id, new).await?;
        self.import_token(&mut tx, &id.to_string(), grant).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// Connects a connection again, with a bearer token or the tokens of a grant. The
    /// patient is the same: its id at the source was fixed when it was first connected.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub async fn reconnect(
        &self,
        id: ConnectionId,
        token: Option<&str>,
        grant: Option<&NewToken>,
    ) -> Result<()> {
        let row = id.to_string();
        let place = Place {
            column: "connections.token",
            row: &row,
        };
        let sealed = token.map(|token| self.keys.seal(place, token.as_bytes()));
        let mut tx = self.writer.begin().await?;
        let done = sqlx::query(
            "UPDATE connections SET token_sealed = $1, status = 'active', pull_failures = 0, pull_not_before = 0 \
             WHERE id = $2",
        )
        .bind(sealed.transpose()?)
        .bind(&row)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(not_found(id));
        }
        match grant {
            Some(grant) => self.import_token(&mut tx, &row, grant).await?,
            None => forget_token(&mut tx, &row).await?,
        }
        forget_changes(&mut tx, &row).await?;
        let body = serde_json::json!({});
        crate::events::insert_event(&mut tx, "connection.reconnected", &row, &body).await?;
        self.commit(tx, id).await
    }

    /// What was granted, as the source wrote it; none where it has not said.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn granted_scope(&self, connection: ConnectionId) -> Result<Option<String>> {
        let row = sqlx::query(
            "SELECT tokens.scope AS scope FROM connections JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN tokens ON tokens.subject_id = \
             CASE WHEN sources.auth = 'smart' THEN connections.id ELSE sources.id END WHERE connections.id = $1",
        )
        .bind(connection.to_string())
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.map(|row| row.raw("scope")).transpose()?.flatten())
    }
}

//! Events: what has happened, for whoever is to be told.

use model::{EventId, Timestamp};

use crate::Result;
use crate::call::Tx;

/// An event, in the transaction of the change it tells of.
pub(crate) async fn insert_event(
    tx: &mut Tx<'_>,
    kind: &str,
    subject: &str,
    body: &serde_json::Value,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO events (id, type, subject_id, body, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(EventId::new().to_string())
    .bind(kind)
    .bind(subject)
    .bind(body.to_string())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

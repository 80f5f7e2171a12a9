//! The audit log: who changed what, who read a record, and what was disclosed to
//! which destination. Rows are only ever added; they hold ids and counts.

use model::{AuditId, KeyId, Publication, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::page;
use crate::row::Columns;
use crate::{Db, Result};

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// Whose key; none for the service itself.
    pub api_key_id: Option<KeyId>,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject_id: String,
    /// Ids and counts that belong to it.
    pub detail: serde_json::Value,
    /// When.
    pub created_at: Timestamp,
}

impl Db {
    /// Adds an entry to the audit log for something that changes nothing.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn note(&self, subject: &str, detail: &serde_json::Value) -> Result<()> {
        let Some(call) = &self.call else {
            return Ok(());
        };
        let mut tx = self.writer.begin().await?;
        add_audit(&mut tx, Some(call.key), call.action, subject, detail).await?;
        Ok(tx.commit().await?)
    }

    /// The audit log, newest first; before `before`, at most `limit`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn audit(&self, before: Option<AuditId>, limit: u32) -> Result<Vec<AuditEntry>> {
        let rows = sqlx::query(
            "SELECT id, api_key_id, action, subject_id, detail, created_at FROM audit \
             WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(page::before(before))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(read_entry).collect()
    }
}

fn read_entry(row: &AnyRow) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.word("id")?,
        api_key_id: row.optional_word("api_key_id")?,
        action: row.text("action")?,
        subject_id: row.text("subject_id")?,
        detail: row.json("detail")?,
        created_at: row.time("created_at")?,
    })
}

/// Adds an entry to the audit log: ids and counts only.
pub(crate) async fn add_audit(
    tx: &mut Tx<'_>,
    api_key: Option<KeyId>,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (id, api_key_id, action, subject_id, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(AuditId::new().to_string())
    .bind(api_key.map(|id| id.to_string()))
    .bind(action)
    .bind(subject)
    .bind(detail.to_string())
    .bind(Timestamp::now().0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes what a publication disclosed: to which destination, of how many patients.
pub(crate) async fn add_disclosure(tx: &mut Tx<'_>, publication: &Publication) -> Result<()> {
    if publication.spans.is_empty() {
        return Ok(());
    }
    let row = sqlx::query(
        "SELECT COUNT(DISTINCT connections.patient_id) AS patients FROM export_spans \
         JOIN connections ON connections.id = export_spans.connection_id WHERE export_spans.export_id = $1 \
         AND export_spans.plan_id = $2 AND export_spans.state = 'delivered'",
    )
    .bind(publication.export_id.to_string())
    .bind(&publication.plan_id)
    .fetch_one(&mut **tx)
    .await?;
    let detail = serde_json::json!({
        "destination_id": publication.destination_id,
        "publication": publication.number,
        "patients": row.count("patients")?,
        "resources": publication.parts.iter().map(|part| part.row_count).sum::<u64>(),
    });
    let export = publication.export_id.to_string();
    add_audit(tx, None, "record.deliver", &export, &detail).await
}

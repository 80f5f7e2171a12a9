//! Patients: the operator's own persons.

use model::{PatientId, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::page;
use crate::row::Columns;
use crate::{Db, Error, Result};

/// A person of the operator's.
#[derive(Debug, Clone, Serialize)]
pub struct Patient {
    /// The id.
    pub id: PatientId,
    /// The operator's own name for this person.
    pub external_id: Option<String>,
    /// When added.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, external_id, created_at";

fn read(row: &AnyRow) -> Result<Patient> {
    Ok(Patient {
        id: row.word("id")?,
        external_id: row.raw("external_id")?,
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// Adds a patient.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is one with this external id.
    pub async fn add_patient(&self, external_id: Option<&str>) -> Result<PatientId> {
        let id = PatientId::new();
        let mut tx = self.writer.begin().await?;
        sqlx::query("INSERT INTO patients (id, external_id, created_at) VALUES ($1, $2, $3)")
            .bind(id.to_string())
            .bind(external_id)
            .bind(Timestamp::now().0)
            .execute(&mut *tx)
            .await
            .map_err(|error| {
                Error::unique(error, || {
                    "there is a patient with this external_id already".to_owned()
                })
            })?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// The patient with this external id, added if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn ensure_patient(&self, external_id: &str) -> Result<PatientId> {
        sqlx::query(
            "INSERT INTO patients (id, external_id, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (external_id) DO NOTHING",
        )
        .bind(PatientId::new().to_string())
        .bind(external_id)
        .bind(Timestamp::now().0)
        .execute(&self.writer)
        .await?;
        let row = sqlx::query("SELECT id FROM patients WHERE external_id = $1")
            .bind(external_id)
            .fetch_one(&self.writer)
            .await?;
        row.word("id")
    }

    /// The patient with this id or external id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn patient(&self, id_or_external: &str) -> Result<Patient> {
        let text = format!(
            "SELECT {COLUMNS} FROM patients WHERE id = $1 OR external_id = $1 ORDER BY (CASE WHEN id = $1 THEN 0 ELSE 1 END) \
             LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id_or_external)
            .fetch_optional(&self.writer)
            .await?;
        read(&row.ok_or_else(|| Error::NotFound {
            noun: "patient",
            id: id_or_external.to_owned(),
        })?)
    }

    /// Patients, newest first; before `before`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn patients(&self, before: Option<PatientId>, limit: u32) -> Result<Vec<Patient>> {
        let text =
            format!("SELECT {COLUMNS} FROM patients WHERE id < $1 ORDER BY id DESC LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }
}

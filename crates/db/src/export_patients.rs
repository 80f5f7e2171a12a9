//! Exports of some patients only.

use model::{ExportId, PatientId};

use crate::call::Tx;
use crate::row::Columns;
use crate::{Db, Error, Result};

/// The condition that the export whose id is the given expression is for the patient
/// of `connections`.
pub(crate) fn is_for(export: &str) -> String {
    format!(
        "(NOT EXISTS (SELECT 1 FROM export_patients WHERE export_patients.export_id = {export}) OR EXISTS \
         (SELECT 1 FROM export_patients WHERE export_patients.export_id = {export} \
         AND export_patients.patient_id = connections.patient_id))"
    )
}

/// Narrows a new export to some patients, or widens a queued one by them; by none, to
/// all.
pub(crate) async fn narrow(
    tx: &mut Tx<'_>,
    export: ExportId,
    is_new: bool,
    patients: &[PatientId],
) -> Result<()> {
    let export = export.to_string();
    if patients.is_empty() {
        sqlx::query("DELETE FROM export_patients WHERE export_id = $1")
            .bind(&export)
            .execute(&mut **tx)
            .await?;
        return Ok(());
    }
    if !is_new && patients_of(&mut **tx, &export).await?.is_empty() {
        return Ok(());
    }
    for patient in patients {
        let added = sqlx::query(
            "INSERT INTO export_patients (export_id, patient_id) SELECT $1, patients.id FROM patients \
             WHERE patients.id = $2 AND EXISTS (SELECT 1 FROM connections WHERE connections.patient_id = patients.id) \
             ON CONFLICT (export_id, patient_id) DO UPDATE SET patient_id = excluded.patient_id",
        )
        .bind(&export)
        .bind(patient.to_string())
        .execute(&mut **tx)
        .await?;
        if added.rows_affected() == 0 {
            return Err(refused(tx, *patient).await?);
        }
    }
    Ok(())
}

/// Why nothing of a patient can be exported.
async fn refused(tx: &mut Tx<'_>, patient: PatientId) -> Result<Error> {
    let known = sqlx::query("SELECT id FROM patients WHERE id = $1")
        .bind(patient.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(match known {
        Some(_) => Error::Conflict {
            what: format!("patient {patient} has no connection: there is nothing to export"),
        },
        None => Error::NotFound {
            noun: "patient",
            id: patient.to_string(),
        },
    })
}

async fn patients_of<'e>(
    executor: impl sqlx::Executor<'e, Database = sqlx::Any>,
    export: &str,
) -> Result<Vec<PatientId>> {
    let rows = sqlx::query(
        "SELECT patient_id FROM export_patients WHERE export_id = $1 ORDER BY patient_id",
    )
    .bind(export.to_owned())
    .fetch_all(executor)
    .await?;
    rows.iter().map(|row| row.word("patient_id")).collect()
}

impl Db {
    /// The patients an export is for; none: all.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn export_patients(&self, export: ExportId) -> Result<Vec<PatientId>> {
        patients_of(&self.reader, &export.to_string()).await
    }
}

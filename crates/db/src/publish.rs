//! Publishing: the transaction that makes a publication count here.

use model::{ExportCounts, ExportId, Part, Publication, Span, Timestamp};
use serde::Serialize;

use crate::audit::add_disclosure;
use crate::row::{Columns, bigint, json};
use crate::steps::finish_step;
use crate::watermarks::{clear_marks, raise_watermark};
use crate::{Db, Error, Result, StepRef, lock};

/// A publication to take over.
#[derive(Debug)]
pub struct PublicationCommit<'a, R> {
    /// The publication as it stands at the destination.
    pub publication: &'a Publication,
    /// The step that ends with it, its token and its receipt; none when another
    /// run's publication is adopted.
    pub step: Option<(&'a StepRef, &'a str, &'a R)>,
}

impl Db {
    /// Moves an export into its last phase: late chunks of the plan no longer
    /// save.
    ///
    /// # Errors
    /// [`Error::Lost`] if the export has ended or has another plan.
    pub async fn begin_publish(&self, export: ExportId, plan_id: &str) -> Result<()> {
        let moved = sqlx::query(
            "UPDATE exports SET phase = 'committing', updated_at = $1 \
             WHERE id = $2 AND state = 'running' AND plan_id = $3",
        )
        .bind(Timestamp::now().0)
        .bind(export.to_string())
        .bind(plan_id)
        .execute(&self.writer)
        .await?;
        if moved.rows_affected() == 0 {
            Err(Error::Lost)
        } else {
            Ok(())
        }
    }

    /// What the chunks of a plan wrote: parts and spans, in a fixed order, and
    /// the counts.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn plan_results(
        &self,
        export: ExportId,
        plan_id: &str,
    ) -> Result<(Vec<Part>, Vec<Span>, ExportCounts)> {
        let rows = sqlx::query(
            "SELECT path, resource_type, deleted, row_count, size_bytes, sha256 FROM parts \
             WHERE export_id = $1 AND plan_id = $2 ORDER BY resource_type, chunk, ordinal",
        )
        .bind(export.to_string())
        .bind(plan_id)
        .fetch_all(&self.writer)
        .await?;
        let parts = rows
            .iter()
            .map(|row| {
                Ok(Part {
                    path: row.text("path")?,
                    resource_type: row.text("resource_type")?,
                    deleted: row.flag("deleted")?,
                    row_count: row.count("row_count")?,
                    size_bytes: row.count("size_bytes")?,
                    sha256: row.text("sha256")?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = sqlx::query(
            "SELECT connection_id, from_seq, to_seq, state, counts FROM export_spans \
             WHERE export_id = $1 AND plan_id = $2 AND state <> 'planned' ORDER BY connection_id",
        )
        .bind(export.to_string())
        .bind(plan_id)
        .fetch_all(&self.writer)
        .await?;
        let mut counts = ExportCounts::default();
        let mut spans = Vec::with_capacity(rows.len());
        for row in &rows {
            let of: ExportCounts = row.json("counts")?;
            counts += of;
            // A failed connection is counted, and not in the publication.
            if row.text("state")? != "delivered" {
                continue;
            }
            spans.push(Span {
                connection_id: row.word("connection_id")?,
                from: row.count("from_seq")?,
                to: row.count("to_seq")?,
                row_count: of.delivered,
            });
        }
        Ok((parts, spans, counts))
    }

    /// Takes a publication over: last number, watermarks, marks and counts, in
    /// one transaction. Taking it over twice changes nothing. A watermark moves
    /// only where its epoch and `from` still match.
    ///
    /// # Errors
    /// [`Error::Lost`] if another attempt holds the step; [`Error::Conflict`] if
    /// publications before this one were never taken over.
    pub async fn commit_publication<R: Serialize + Sync>(
        &self,
        commit: &PublicationCommit<'_, R>,
    ) -> Result<()> {
        let publication = commit.publication;
        let destination = publication.destination_id.to_string();
        let now = Timestamp::now().0;
        let mut tx = self.writer.begin().await?;
        lock::destination(&mut tx, publication.destination_id).await?;
        let advanced = sqlx::query("UPDATE destinations SET last_publication = $1 WHERE id = $2 AND last_publication = $1 - 1")
            .bind(bigint(publication.number))
            .bind(&destination)
            .execute(&mut *tx)
            .await?;
        if let Some((step, token, receipt)) = commit.step {
            finish_step(&mut tx, step, token, receipt).await?;
        }
        if advanced.rows_affected() > 0 {
            insert_publication(&mut tx, publication, now).await?;
            for span in &publication.spans {
                raise_watermark(&mut tx, publication, span, now).await?;
            }
            clear_marks(&mut tx, &destination).await?;
            sqlx::query(
                "DELETE FROM holds WHERE destination_id = $1 AND connection_id IN (SELECT connection_id \
                 FROM export_spans WHERE export_id = $2 AND plan_id = $3 AND state = 'delivered')",
            )
            .bind(&destination)
            .bind(publication.export_id.to_string())
            .bind(&publication.plan_id)
            .execute(&mut *tx)
            .await?;
            add_to_export(&mut tx, publication, commit.step.is_none(), now).await?;
            add_disclosure(&mut tx, publication).await?;
        } else {
            refuse_gap(&mut tx, publication).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// A publication that was not the next one must have been taken over before.
async fn refuse_gap(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    publication: &Publication,
) -> Result<()> {
    let row = sqlx::query("SELECT last_publication FROM destinations WHERE id = $1")
        .bind(publication.destination_id.to_string())
        .fetch_one(&mut **tx)
        .await?;
    let last = row.count("last_publication")?;
    if last < publication.number {
        return Err(Error::Conflict {
            what: format!(
                "publication {} cannot follow publication {last}: `chartlift verify` shows what is missing",
                publication.number
            ),
        });
    }
    Ok(())
}

pub(crate) async fn insert_publication(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    publication: &Publication,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO publications (destination_id, number, export_id, plan_id, burnt, part_count, row_count, \
         size_bytes, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(publication.destination_id.to_string())
    .bind(bigint(publication.number))
    .bind(publication.export_id.to_string())
    .bind(&publication.plan_id)
    .bind(i64::from(publication.burnt))
    .bind(bigint(publication.parts.len() as u64))
    .bind(bigint(publication.parts.iter().map(|part| part.row_count).sum()))
    .bind(bigint(publication.parts.iter().map(|part| part.size_bytes).sum()))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds a publication to its export's counts; an adopted one also decides a run
/// that had been given up as undecided. A burnt one was not made.
pub(crate) async fn add_to_export(
    tx: &mut sqlx::Transaction<'_, sqlx::Any>,
    publication: &Publication,
    adopted: bool,
    now: i64,
) -> Result<()> {
    let id = publication.export_id.to_string();
    if publication.burnt {
        sqlx::query(
            "UPDATE exports SET error_code = 'publish_burnt' WHERE id = $1 AND state = 'failed' \
             AND error_code = 'publish_undecided'",
        )
        .bind(&id)
        .execute(&mut **tx)
        .await?;
        return Ok(());
    }
    let row = sqlx::query("SELECT counts FROM exports WHERE id = $1")
        .bind(&id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let mut counts: ExportCounts = row.json("counts")?;
    counts += publication.counts;
    sqlx::query(
        "UPDATE exports SET counts = $1, part_count = part_count + $2, size_bytes = size_bytes + $3, \
         publication_count = publication_count + 1, updated_at = $4, patients = patients + (SELECT COUNT(DISTINCT \
         connections.patient_id) FROM export_spans JOIN connections ON connections.id = export_spans.connection_id \
         WHERE export_spans.export_id = $5 AND export_spans.plan_id = $6 AND export_spans.state = 'delivered') \
         WHERE id = $5",
    )
    .bind(json(&counts))
    .bind(bigint(publication.parts.len() as u64))
    .bind(bigint(publication.parts.iter().map(|part| part.size_bytes).sum()))
    .bind(now)
    .bind(&id)
    .bind(&publication.plan_id)
    .execute(&mut **tx)
    .await?;
    if adopted {
        sqlx::query(
            "UPDATE exports SET state = CASE WHEN EXISTS (SELECT 1 FROM export_spans WHERE export_id = $1 \
             AND plan_id = $2 AND export_spans.state <> 'delivered') THEN 'partial' ELSE 'completed' END, \
             error_code = NULL WHERE id = $1 AND state = 'failed' AND error_code = 'publish_undecided'",
        )
        .bind(&id)
        .bind(&publication.plan_id)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

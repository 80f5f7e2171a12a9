//! A publication with itself and with what the database took over.

use db::PublicationRow;
use model::{FileFormat, Part, Publication};

use super::{Check, REPORT_BUG, RESTORE_PUBLICATION};
use crate::verify::VerifyError;

impl Check<'_> {
    pub(super) async fn agree(
        &mut self,
        object: &str,
        publication: &Publication,
        row: Option<&PublicationRow>,
    ) -> Result<(), VerifyError> {
        if publication.format != self.state.format || publication.epoch > self.state.epoch {
            let what = format!(
                "it is of format {} and epoch {}, and the destination of {} and {}",
                publication.format, publication.epoch, self.state.format, self.state.epoch
            );
            self.report.find(
                ("I4", "publication_foreign"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
        self.sums(object, publication);
        let Some(row) = row else {
            self.report.find(
                ("I4", "publication_row_missing"),
                object,
                "the database does not know it",
                "restore the database from a backup",
            );
            return Ok(());
        };
        self.taken_over(object, publication, row);
        self.written(publication).await
    }

    /// Its counts with its parts and spans.
    fn sums(&mut self, object: &str, publication: &Publication) {
        let counts = publication.counts;
        let part_rows: u64 = publication.parts.iter().map(|part| part.row_count).sum();
        let span_rows: u64 = publication.spans.iter().map(|span| span.row_count).sum();
        if part_rows != counts.delivered
            || span_rows != counts.delivered
            || counts.planned != counts.delivered + counts.skipped + counts.failed
        {
            let what = format!(
                "it counts {} rows planned, {} delivered, {} skipped and {} failed; its parts have {part_rows}, its spans {span_rows}",
                counts.planned, counts.delivered, counts.skipped, counts.failed
            );
            self.report
                .find(("I8", "publication_counts_wrong"), object, what, REPORT_BUG);
        }
        if publication.burnt && !(publication.parts.is_empty() && publication.spans.is_empty()) {
            self.report.find(
                ("I4", "burnt_not_empty"),
                object,
                "it is burnt and names files or spans",
                REPORT_BUG,
            );
        }
    }

    /// What stands with what the database says it took over.
    fn taken_over(&mut self, object: &str, publication: &Publication, row: &PublicationRow) {
        let stands = (
            publication.export_id,
            publication.plan_id.as_str(),
            publication.burnt,
        );
        if stands != (row.export_id, row.plan_id.as_str(), row.burnt) {
            let what = format!(
                "it was made by {} and {}, and the database took over that of {}",
                publication.export_id,
                if publication.burnt {
                    "is burnt"
                } else {
                    "is not burnt"
                },
                row.export_id
            );
            self.report.find(
                ("I4", "publication_replaced"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
        let part_rows: u64 = publication.parts.iter().map(|part| part.row_count).sum();
        let size_bytes: u64 = publication.parts.iter().map(|part| part.size_bytes).sum();
        let stated = (publication.parts.len() as u64, part_rows, size_bytes);
        if stated != (row.part_count, row.row_count, row.size_bytes) {
            let what = format!(
                "it has {} parts, {} rows and {} bytes, and the database {}, {} and {}",
                stated.0, stated.1, stated.2, row.part_count, row.row_count, row.size_bytes
            );
            self.report.find(
                ("I8", "publication_totals_wrong"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
    }

    /// Its files with what the chunks wrote, as far as that is still known: this
    /// sees a file that was changed together with what its publication says of it.
    async fn written(&mut self, publication: &Publication) -> Result<(), VerifyError> {
        let plan = (publication.export_id, publication.plan_id.as_str());
        let written = self.db.written_parts(plan.0, plan.1).await?;
        for part in &publication.parts {
            let is_other = written.get(&part.path).is_some_and(|as_written| {
                (
                    as_written.row_count,
                    as_written.size_bytes,
                    &as_written.sha256,
                ) != (part.row_count, part.size_bytes, &part.sha256)
            });
            if is_other || !is_named_after(part, publication) {
                let what = format!(
                    "publication {} says of it what it was not written with",
                    publication.number
                );
                self.report.find(
                    ("I4", "part_replaced"),
                    self.name(&part.path),
                    what,
                    RESTORE_PUBLICATION,
                );
            }
        }
        Ok(())
    }
}

/// Whether a part has the name that its export, type and bytes give it.
fn is_named_after(part: &Part, publication: &Publication) -> bool {
    let export = publication.export_id;
    let file = part.path.rsplit('/').next().unwrap_or_default();
    let mut words = file.split('.');
    let (folder, hash) = if publication.format == FileFormat::Parquet {
        let folder = format!("tables/{}/{export}", part.resource_type);
        (folder, words.next())
    } else {
        let folder = if part.deleted { "/deleted" } else { "" };
        let is_typed = words.next() == Some(part.resource_type.as_str());
        let numbered = words.next().filter(|_| is_typed);
        let hash = numbered.and_then(|word| word.split_once('-'));
        (
            format!("ndjson/{export}{folder}"),
            hash.map(|(_, hash)| hash),
        )
    };
    part.path == format!("{folder}/{file}")
        && hash.is_some_and(|hash| hash.len() >= 16 && part.sha256.starts_with(hash))
}

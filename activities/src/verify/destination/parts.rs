//! The files of a publication: each is there, whole, and holds what the log says
//! was delivered.

use bytes::Bytes;
use destination::PartCheck;
use formats::read_rows;
use model::{FileFormat, Part, Publication, Span};

use super::{Check, REPORT_BUG, RESTORE};
use crate::verify::VerifyError;
use crate::verify::rows::Tally;
use crate::verify::stretch::{self, Stretch, StretchRows, was_passed_over};

impl Check<'_> {
    /// One file; its rows go into `tally`. Whether it is as it was published.
    pub(super) async fn part(
        &mut self,
        publication: &Publication,
        part: &Part,
        tally: &mut Tally,
    ) -> bool {
        let object = self.name(&part.path);
        let checked = if self.options.bodies {
            self.files.check_part(part).await
        } else {
            // Its bytes are not looked at, so there is nothing to compare later.
            match self.files.part_size(part).await {
                Ok(Some(size_bytes)) if size_bytes == part.size_bytes => return true,
                Ok(Some(size_bytes)) => Ok(PartCheck::Size { size_bytes }),
                Ok(None) => Ok(PartCheck::Missing),
                Err(error) => Err(error),
            }
        };
        let (code, what) = match checked {
            Ok(PartCheck::Sound(bytes)) => {
                return self.rows_of(publication, part, &object, &bytes, tally);
            }
            Ok(PartCheck::Missing) => {
                let number = publication.number;
                let what = format!("publication {number} names it and it is not there");
                ("part_missing", what)
            }
            Ok(PartCheck::Size { size_bytes }) => {
                let published = part.size_bytes;
                let what = format!("it has {size_bytes} bytes and was published with {published}");
                ("part_changed", what)
            }
            Ok(PartCheck::Hash { .. }) => {
                let what = "it has not the SHA-256 it was published with";
                ("part_changed", what.to_owned())
            }
            Err(error) => ("part_unreadable", error.to_string()),
        };
        self.report.find(("I1", code), object, what, RESTORE);
        false
    }

    /// The rows of a file whose bytes are as published.
    fn rows_of(
        &mut self,
        publication: &Publication,
        part: &Part,
        object: &str,
        bytes: &Bytes,
        tally: &mut Tally,
    ) -> bool {
        let (keys, mut view) = (
            &self.keys,
            self.view
                .as_mut()
                .filter(|_| publication.epoch == self.state.epoch),
        );
        let mut misplaced = 0_u64;
        let read = read_rows(publication.format, part.deleted, bytes, |row| {
            misplaced += u64::from(row.resource_type != part.resource_type);
            let connection = row.origin.map_or("", |(connection, _)| connection);
            let key = keys.key(connection, row.resource_type, row.id);
            tally.found(key, &row);
            if let Some(view) = &mut view {
                view.add(key, &row);
            }
        });
        match read {
            Ok(row_count) => {
                self.report.checked.part_rows += row_count;
                if row_count != part.row_count {
                    let what = format!(
                        "it has {row_count} rows and was published with {}",
                        part.row_count
                    );
                    self.report
                        .find(("I8", "part_rows_wrong"), object, what, REPORT_BUG);
                }
            }
            Err(error) => {
                self.report.find(
                    ("I1", "part_corrupt"),
                    object,
                    error.to_string(),
                    REPORT_BUG,
                );
                return false;
            }
        }
        if misplaced > 0 {
            let what = format!("{misplaced} of its rows are not of its type");
            self.report
                .find(("I1", "part_type_wrong"), object, what, REPORT_BUG);
        }
        true
    }

    /// What the logs say the spans have against the spans' counts and, where the
    /// files were read, against their rows. A chunk that failed has no span here:
    /// of those that are, every row was delivered.
    ///
    /// For NDJSON, which says of no line where it comes from, this is also the
    /// check of the latest view (I2): the spans of a connection follow each other
    /// from 0 to its watermark, and each publication holds exactly the newest rows
    /// of its spans, so whoever applies them in order has what the log has.
    pub(super) async fn compare(
        &mut self,
        object: &str,
        publication: &Publication,
        mut tally: Tally,
        is_sound: bool,
    ) -> Result<(), VerifyError> {
        let names_origin = publication.format == FileFormat::Parquet;
        let (mut is_told, mut is_whole) = (true, true);
        for span in &publication.spans {
            let connection = span.connection_id.to_string();
            let named = if names_origin { &connection } else { "" };
            let Some(rows) = self.span_rows(publication.epoch, span, named).await? else {
                is_told = false;
                continue;
            };
            // What is gone when a connection is first delivered was never there; when it
            // is sent again it is told, as far as merging has left it.
            let is_again = publication.epoch > 1 && span.from == 0;
            let rows_are_whole = rows.is_whole && !is_again;
            is_whole &= rows_are_whole;
            let mut expected = 0;
            for (key, row) in rows
                .newest
                .into_iter()
                .filter(|(_, row)| span.from > 0 || is_again || row.content_hash.is_some())
            {
                expected += 1;
                tally.expect(key, row, names_origin);
            }
            if span.row_count < expected || (rows_are_whole && span.row_count > expected) {
                let what = format!(
                    "its span of {} has {} rows, and the log {expected}",
                    span.connection_id, span.row_count
                );
                self.report
                    .find(("I1", "span_rows_wrong"), object, what, REPORT_BUG);
            }
        }
        if !is_told || !is_sound {
            self.report.checked.publications_not_compared += 1;
            return Ok(());
        }
        self.report.checked.publications_merged += u64::from(!is_whole);
        if self.options.bodies {
            self.differences(object, &tally, !is_whole);
        }
        Ok(())
    }

    /// The rows of a span. A span of an earlier epoch may be of batches that were
    /// lost with a database: its own log was passed over.
    async fn span_rows(
        &self,
        epoch: u64,
        span: &Span,
        named: &str,
    ) -> Result<Option<StretchRows>, VerifyError> {
        let connection = span.connection_id;
        if epoch < self.state.epoch
            && let Some(log) = self.db.log_state(connection).await?
            && (was_passed_over(&log, span.from) || was_passed_over(&log, span.to))
        {
            return Ok(None);
        }
        let stretch = Stretch {
            connection,
            from: span.from,
            to: span.to,
        };
        stretch::read(self.db, self.store, &self.keys, stretch, named).await
    }

    fn differences(&mut self, object: &str, tally: &Tally, may_have_more: bool) {
        let difference = tally.difference(may_have_more);
        let found = [
            (
                ("I1", "rows_missing"),
                difference.missing,
                "rows of the logs are not in its parts",
            ),
            (
                ("I1", "rows_differ"),
                difference.other,
                "rows of its parts are not what the logs hold",
            ),
            (
                ("I2", "rows_twice"),
                difference.twice,
                "rows of its parts are there once too often",
            ),
            (
                ("I2", "rows_unknown"),
                difference.unknown,
                "rows of its parts are of resources that its spans do not have",
            ),
        ];
        for (kind, count, what) in found.into_iter().filter(|(_, count, _)| *count > 0) {
            self.report
                .find(kind, object, format!("{count} {what}"), REPORT_BUG);
        }
    }
}

//! A destination: its publications are all there and are what the database
//! says, their files are whole and hold what the logs say was delivered, and the
//! watermarks stand exactly where the publications end.

mod parts;
mod watermarks;

use std::collections::{BTreeMap, HashMap, HashSet};

use db::{Db, DestinationState, PublicationRow};
use destination::{Error, FileDestination, gaps};
use model::{ConnectionId, FileFormat, ObjectKey, Publication};
use records::Store;

use super::rows::{Keys, Tally};
use super::view::View;
use super::{Report, VerifyError, VerifyOptions};

/// Publication rows read at once.
const PAGE: u32 = 1000;
const RESTORE: &str =
    "restore the file from a backup of the destination; the record store still holds its rows";
const RESTORE_PUBLICATION: &str =
    "restore the publication file and the files it names from a backup of the destination";
const REPORT_BUG: &str = "keep the publication and its files as they are and report this as a bug";

pub(super) async fn check(
    db: &Db,
    store: &Store,
    options: &VerifyOptions,
    state: &DestinationState,
    report: &mut Report,
) -> Result<(), VerifyError> {
    report.checked.destinations += 1;
    let (files, numbers) = match open(state).await {
        Ok(opened) => opened,
        Err(error) => {
            let (kind, action) = match &error {
                Error::ForeignOwner { .. } => (
                    ("I4", "owner_foreign"),
                    "give each destination a location of its own",
                ),
                Error::NotFound { .. } | Error::Corrupt { .. } => (
                    ("I4", "owner_missing"),
                    "check that the location is mounted and was not emptied",
                ),
                _ => (
                    ("I1", "destination_unreadable"),
                    "check that the destination can be reached and read, then verify again",
                ),
            };
            report.find(kind, state.id, error.to_string(), action);
            return Ok(());
        }
    };
    let check = Check {
        db,
        store,
        options,
        state,
        files,
        report,
        keys: Keys::default(),
        named: HashSet::new(),
        reached: BTreeMap::new(),
        view: (options.bodies && state.format == FileFormat::Parquet).then(View::default),
        is_whole: true,
        failed: 0,
    };
    check.run(&numbers).await
}

/// The destination, which must carry its own name, and the numbers taken there.
async fn open(state: &DestinationState) -> Result<(FileDestination, Vec<u64>), Error> {
    // Opening makes a missing folder, and nothing is written here.
    if state.location.starts_with('/') && !std::path::Path::new(&state.location).is_dir() {
        return Err(Error::NotFound {
            object: ObjectKey::Owner.to_string(),
        });
    }
    let files = FileDestination::open(&state.location, state.id)?;
    files.confirm_owner().await?;
    let numbers = files.publication_numbers(1).await?;
    Ok((files, numbers))
}

struct Check<'a> {
    db: &'a Db,
    store: &'a Store,
    options: &'a VerifyOptions,
    state: &'a DestinationState,
    files: FileDestination,
    report: &'a mut Report,
    keys: Keys,
    /// The files that publications name.
    named: HashSet<String>,
    /// How far the publications of this epoch have brought each connection.
    reached: BTreeMap<ConnectionId, u64>,
    /// The newest row of each resource; none where files do not say enough.
    view: Option<View>,
    /// Whether every publication was there and could be read.
    is_whole: bool,
    /// Rows that publications say could not be delivered.
    failed: u64,
}

impl Check<'_> {
    async fn run(mut self, numbers: &[u64]) -> Result<(), VerifyError> {
        let last = self.state.last_publication;
        let known: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|number| *number <= last)
            .chain([last + 1])
            .collect();
        for missing in gaps(1, &known) {
            self.is_whole = false;
            let what = format!(
                "publications {} to {} were made and are not there",
                missing.start(),
                missing.end()
            );
            let object = self.name(&ObjectKey::Publication {
                number: *missing.start(),
            });
            self.report.find(
                ("I4", "publication_missing"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
        let rows = self.rows().await?;
        for number in known.iter().copied().filter(|number| *number <= last) {
            self.report.checked.publications += 1;
            let object = self.name(&ObjectKey::Publication { number });
            match self.files.publication(number).await {
                Ok(Some(publication)) => {
                    self.publication(&object, &publication, rows.get(&number))
                        .await?
                }
                // Deleted since it was listed.
                Ok(None) => {
                    self.is_whole = false;
                    self.report.find(
                        ("I4", "publication_missing"),
                        object,
                        "it is not there",
                        RESTORE_PUBLICATION,
                    );
                }
                Err(error) => {
                    self.is_whole = false;
                    let what = error.to_string();
                    self.report.find(
                        ("I4", "publication_unreadable"),
                        object,
                        what,
                        RESTORE_PUBLICATION,
                    );
                }
            }
        }
        self.watermarks().await?;
        if let Some(view) = self
            .view
            .take()
            .filter(|_| self.is_whole && self.failed == 0)
        {
            view.check(self.db, self.store, &self.keys, self.state, self.report)
                .await?;
        }
        self.ahead(numbers).await?;
        self.orphans().await;
        Ok(())
    }

    fn name(&self, key: &impl ToString) -> String {
        format!("{} {}", self.state.id, key.to_string())
    }

    async fn rows(&self) -> Result<HashMap<u64, PublicationRow>, VerifyError> {
        let (mut rows, mut after) = (HashMap::new(), 0);
        loop {
            let page = self.db.publications(self.state.id, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(rows);
            };
            after = last.number;
            rows.extend(page.into_iter().map(|row| (row.number, row)));
        }
    }

    async fn publication(
        &mut self,
        object: &str,
        publication: &Publication,
        row: Option<&PublicationRow>,
    ) -> Result<(), VerifyError> {
        self.agree(object, publication, row);
        let mut tally = Tally::default();
        let mut is_sound = true;
        for part in &publication.parts {
            self.report.checked.parts += 1;
            if !self.named.insert(part.path.clone()) {
                is_sound = false;
                let what = format!(
                    "publication {} lists it, and it is listed before",
                    publication.number
                );
                self.report.find(
                    ("I2", "part_listed_twice"),
                    self.name(&part.path),
                    what,
                    REPORT_BUG,
                );
            }
            is_sound &= self.part(publication, part, &mut tally).await;
        }
        let is_current = publication.epoch == self.state.epoch;
        if is_current {
            self.failed += publication.counts.failed;
            for span in &publication.spans {
                self.follow(object, span);
            }
        }
        self.compare(object, publication, tally, is_sound).await?;
        if !is_sound && is_current {
            self.view = None;
        }
        Ok(())
    }

    /// The publication with itself and with what the database took over.
    fn agree(&mut self, object: &str, publication: &Publication, row: Option<&PublicationRow>) {
        if publication.format != self.state.format || publication.epoch > self.state.epoch {
            let what = format!(
                "it is of format {} and epoch {}, which the destination is not",
                publication.format, publication.epoch
            );
            self.report.find(
                ("I4", "publication_foreign"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
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
        let Some(row) = row else {
            let action = "restore the database from a backup";
            return self.report.find(
                ("I4", "publication_row_missing"),
                object,
                "the database does not know it",
                action,
            );
        };
        if (row.export_id, row.plan_id.as_str())
            != (publication.export_id, publication.plan_id.as_str())
        {
            let what = format!(
                "it was made by {}, and the database took over that of {}",
                publication.export_id, row.export_id
            );
            self.report.find(
                ("I4", "publication_replaced"),
                object,
                what,
                RESTORE_PUBLICATION,
            );
        }
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

    /// Publications above the last one. The next may stand without having been
    /// taken over: a run is about to, or the next run will.
    async fn ahead(&mut self, numbers: &[u64]) -> Result<(), VerifyError> {
        let ahead: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|number| *number > self.state.last_publication)
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let now = self.db.destination_progress(self.state.id).await?;
        for number in ahead {
            let object = self.name(&ObjectKey::Publication { number });
            if number > now.last_publication + 1 {
                let what = format!(
                    "the database has taken over publications up to {} only",
                    now.last_publication
                );
                let action = "do not export to this destination: its database is older than it; restore the newer one";
                self.report
                    .find(("I4", "publication_ahead"), object, what, action);
                continue;
            }
            match (&now.running, number > now.last_publication) {
                (Some(run), _) => self.report.add_in_flight(run.to_string()),
                (None, true) => self.report.checked.publications_ahead += 1,
                (None, false) => {}
            }
            // Its files are no orphans.
            if let Ok(Some(publication)) = self.files.publication(number).await {
                self.named
                    .extend(publication.parts.into_iter().map(|part| part.path));
            }
        }
        Ok(())
    }

    /// Files of no publication: those of cut-off attempts stay until the sweep.
    async fn orphans(&mut self) {
        // What a listing cannot show, the parts themselves have told.
        let objects = self.files.list_parts().await.unwrap_or_default();
        for object in objects
            .iter()
            .filter(|object| !self.named.contains(&object.path))
        {
            let destination = self.state.id;
            self.report
                .add_orphan(|| format!("{destination} {}", object.path));
        }
    }
}

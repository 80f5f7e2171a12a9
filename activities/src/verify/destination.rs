//! A destination: its publications are all there and are what the database
//! says, their files are whole and hold what the logs say was delivered, and the
//! watermarks stand exactly where the publications end.

mod agree;
mod leftovers;
mod parts;
mod watermarks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

use db::{Db, DestinationState, PublicationRow};
use destination::{Error, FileDestination, gaps};
use model::{ConnectionId, ExportId, FileFormat, ObjectKey, Publication};
use records::Store;

use super::counts::Made;
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
    opened: Result<FileDestination, Error>,
    state: &DestinationState,
    made: &mut Made,
    report: &mut Report,
) -> Result<(), VerifyError> {
    report.checked.destinations += 1;
    let (files, numbers) = match look(opened).await {
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
        made,
        named: HashSet::new(),
        exports: HashSet::new(),
        reached: BTreeMap::new(),
        view: (options.bodies && state.format == FileFormat::Parquet).then(View::default),
        is_whole: true,
    };
    check.run(&numbers).await
}

/// The destination, which must carry its own name, and the numbers taken there.
async fn look(
    opened: Result<FileDestination, Error>,
) -> Result<(FileDestination, Vec<u64>), Error> {
    let files = opened?;
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
    /// What the publications say of their exports.
    made: &'a mut Made,
    /// The files that publications name.
    named: HashSet<String>,
    /// The exports that made publications.
    exports: HashSet<ExportId>,
    /// How far the publications of each epoch have brought each connection.
    reached: BTreeMap<(u64, ConnectionId), u64>,
    /// The newest row of each resource; none where files do not say enough.
    view: Option<View>,
    /// Whether every publication was there and could be read.
    is_whole: bool,
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
            self.missing(&missing);
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
                Ok(None) => self.missing(&(number..=number)),
                Err(error) => self.unreadable(&object, &error),
            }
        }
        self.watermarks().await?;
        if let Some(view) = self.view.take().filter(|_| self.is_whole) {
            view.check(self.db, self.store, &self.keys, self.state, self.report)
                .await?;
        }
        self.leftovers().await
    }

    /// Numbers under which nothing stands and that were made.
    fn missing(&mut self, numbers: &RangeInclusive<u64>) {
        self.is_whole = false;
        let (first, last) = (*numbers.start(), *numbers.end());
        let what = format!("publications {first} to {last} were made and are not there");
        let object = self.name(&ObjectKey::Publication { number: first });
        self.report.find(
            ("I4", "publication_missing"),
            object,
            what,
            RESTORE_PUBLICATION,
        );
    }

    fn unreadable(&mut self, object: &str, error: &Error) {
        self.is_whole = false;
        let code = match error {
            Error::ForeignOwner { .. } => "publication_foreign",
            _ => "publication_unreadable",
        };
        self.report
            .find(("I4", code), object, error.to_string(), RESTORE_PUBLICATION);
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
        self.exports.insert(publication.export_id);
        self.made.add(publication);
        self.agree(object, publication, row).await?;
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
        for span in &publication.spans {
            self.follow(object, publication.epoch, span);
        }
        self.compare(object, publication, tally, is_sound).await?;
        if !is_sound && publication.epoch == self.state.epoch {
            self.view = None;
        }
        Ok(())
    }
}

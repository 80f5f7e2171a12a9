//! What lies at the destination beyond the publications that were taken over:
//! later publications, and files of none.

use std::collections::{BTreeMap, HashMap};

use model::{ExportId, ObjectKey, Publication, RunState};

use super::{Check, gaps};
use crate::verify::VerifyError;

const OLDER: &str = "do not export to this destination: its database is older than it; stop the workers and run `chartlift recover`";
const UNKNOWN: &str = "find out who wrote it before you touch it: another program writes here, or this database is older than the destination, which `chartlift recover` puts right";

impl Check<'_> {
    /// Files first, then who is at work, then later publications: what an ended
    /// export has published since is known by its publication then.
    pub(super) async fn leftovers(&mut self) -> Result<(), VerifyError> {
        let objects = match self.files.list_parts().await {
            Ok(objects) => objects,
            Err(error) => {
                let action =
                    "check that the destination can be reached and read, then verify again";
                self.report.find(
                    ("I1", "destination_unreadable"),
                    self.state.id,
                    error.to_string(),
                    action,
                );
                return Ok(());
            }
        };
        let mut strangers: BTreeMap<Option<ExportId>, Vec<String>> = BTreeMap::new();
        for object in objects {
            if !self.named.contains(&object.path) {
                let export = export_of(&object.path);
                strangers.entry(export).or_default().push(object.path);
            }
        }
        let mut states: HashMap<ExportId, RunState> = HashMap::new();
        for export in strangers.keys().flatten() {
            let state = self.db.export_state(self.state.id, *export).await?;
            states.extend(state.map(|state| (*export, state)));
        }
        self.ahead().await?;
        for (export, mut paths) in strangers {
            paths.retain(|path| !self.named.contains(path));
            let state = export.and_then(|export| states.get(&export));
            match (state, export) {
                _ if paths.is_empty() => {}
                // At work: it has not published these yet.
                (Some(RunState::Queued | RunState::Running), _) => {}
                (Some(_), _) => self.orphans(&paths),
                // A lost database knew it: its publications were taken over.
                (None, Some(export)) if self.exports.contains(&export) => self.orphans(&paths),
                (None, _) => self.unknown(export, &paths),
            }
        }
        Ok(())
    }

    fn orphans(&mut self, paths: &[String]) {
        for path in paths {
            let destination = self.state.id;
            self.report.add_orphan(|| format!("{destination} {path}"));
        }
    }

    fn unknown(&mut self, export: Option<ExportId>, paths: &[String]) {
        let count = paths.len();
        let what = match export {
            Some(export) => {
                format!("it is one of {count} files of {export}, which this destination never had")
            }
            None => format!("it is one of {count} files that have no name of ours"),
        };
        let object = self.name(&paths[0]);
        self.report
            .find(("I4", "orphan_unknown"), object, what, UNKNOWN);
    }

    /// Publications above the last one. The next may stand without having been
    /// taken over: a run is about to, or the next run will.
    async fn ahead(&mut self) -> Result<(), VerifyError> {
        let Ok(numbers) = self
            .files
            .publication_numbers(self.state.last_publication + 1)
            .await
        else {
            return Ok(());
        };
        if numbers.is_empty() {
            return Ok(());
        }
        // Read after the listing: whatever stood then was planned from a lower last
        // number than this.
        let now = self.db.destination_progress(self.state.id).await?;
        let next = now.last_publication + 1;
        for missing in gaps(next, &numbers) {
            self.missing(&missing);
        }
        for number in numbers {
            let object = self.name(&ObjectKey::Publication { number });
            if number > next {
                let what = format!(
                    "the database has taken over publications up to {} only",
                    now.last_publication
                );
                self.report
                    .find(("I4", "publication_ahead"), &object, what, OLDER);
            }
            let publication = match self.files.publication(number).await {
                Ok(publication) => publication,
                // What stands further on is found above, whatever it is.
                Err(_) if number > next => None,
                Err(error) => {
                    self.unreadable(&object, &error);
                    None
                }
            };
            let Some(publication) = publication else {
                continue;
            };
            if number == next {
                match &now.running {
                    Some(run) => self.report.add_in_flight(run.to_string()),
                    None => self.report.checked.publications_ahead += 1,
                }
                self.known_batches(&object, &publication).await?;
            }
            self.exports.insert(publication.export_id);
            // Its files are no orphans.
            self.named
                .extend(publication.parts.into_iter().map(|part| part.path));
        }
        Ok(())
    }

    /// A publication that waits to be taken over was planned from these logs.
    async fn known_batches(
        &mut self,
        object: &str,
        publication: &Publication,
    ) -> Result<(), VerifyError> {
        for span in &publication.spans {
            let head = match self.db.log_head(span.connection_id).await {
                Ok(head) => head.head_seq,
                Err(db::Error::NotFound { .. }) => 0,
                Err(error) => return Err(error.into()),
            };
            if span.to > head {
                let what = format!(
                    "its span of {} ends at {}, and the log at {head}",
                    span.connection_id, span.to
                );
                self.report
                    .find(("I4", "publication_ahead"), object, what, OLDER);
            }
        }
        Ok(())
    }
}

/// The export in whose folder a file lies.
fn export_of(path: &str) -> Option<ExportId> {
    let mut names = path.split('/');
    match names.next()? {
        "ndjson" => names.next()?.parse().ok(),
        "tables" => names.nth(1)?.parse().ok(),
        _ => None,
    }
}

//! Judging a deployment that has come to rest: by its own `verify`, and by the
//! sandbox, which knows what it served.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use db::Destination;
use model::{Change, DestinationId, FileFormat, RunState, content_hash};
use records::SegmentReader;
use sandbox::LogEntry;

use crate::{App, Delivered};

/// A row of a log as two deployments can be compared by: (patient, type, id,
/// change, content hash).
pub type LogRow = (String, String, String, String, String);

impl App {
    /// Fails if a pull or export ended otherwise than completed.
    pub async fn all_completed(&self) -> Result<()> {
        for pull in self.core.db.pulls(None, None, 1000).await? {
            if pull.state != RunState::Completed {
                bail!("{} is {} ({:?})", pull.id, pull.state, pull.error_code);
            }
        }
        for export in self.core.db.exports(None, None, 1000).await? {
            if export.state != RunState::Completed {
                bail!(
                    "{} is {} ({:?})",
                    export.id,
                    export.state,
                    export.error_code
                );
            }
        }
        Ok(())
    }

    /// Fails unless `verify` finds nothing.
    pub async fn verified(&self) -> Result<()> {
        let options = activities::verify::VerifyOptions { bodies: true };
        let report = activities::verify::verify(
            &self.core.db,
            &self.core.store,
            &self.core.destinations(),
            &options,
        )
        .await?;
        if !report.is_clean() {
            bail!("verify found: {:#?}", report.findings);
        }
        Ok(())
    }

    /// What a destination's publications hold.
    pub async fn delivered(&self, id: DestinationId) -> Result<Delivered> {
        let row: Destination = self.core.db.destination(&id.to_string()).await?;
        let folder = self.folder_of(&row.location);
        Delivered::read(&self.core.db, &folder, row.format).await
    }

    /// The rows of all logs, sorted.
    pub async fn log_rows(&self) -> Result<Vec<LogRow>> {
        let mut rows: Vec<LogRow> = self.logs().await?.into_values().flatten().collect();
        rows.sort();
        Ok(rows)
    }

    /// The rows of each connection's log, oldest first, by the connection's patient
    /// at the portal.
    async fn logs(&self) -> Result<BTreeMap<String, Vec<LogRow>>> {
        let (db, store) = (&self.core.db, &self.core.store);
        let mut logs = BTreeMap::new();
        for summary in db.connections(None, 10_000).await? {
            let connection = db.connection(summary.id).await?;
            let patient = &connection.source_patient_id;
            let mut rows = Vec::new();
            for batch in db.batches(summary.id, 0, summary.head_seq).await? {
                let reader = SegmentReader::open(store, &batch.object_key).await?;
                rows.extend(reader.footer().rows().map(|row| {
                    (
                        patient.clone(),
                        row.resource_type.to_owned(),
                        row.id.to_owned(),
                        row.change.to_string(),
                        row.content_hash.to_string(),
                    )
                }));
            }
            logs.insert(patient.clone(), rows);
        }
        Ok(logs)
    }

    /// Fails unless logs and destinations hold, as their latest view, exactly the
    /// newest version of what the portal has, once (I1, I2), and the portal has
    /// served all of it since `served_from`, a number in its log.
    pub async fn holds_what_was_served(
        &self,
        served_from: u64,
        destinations: &[DestinationId],
    ) -> Result<()> {
        let portal = self.sandbox.portal();
        let mut latest_in_logs = BTreeMap::new();
        let mut expected = BTreeMap::new();
        for (patient, rows) in self.logs().await? {
            for (_, resource_type, id, change, hash) in rows {
                let key = (patient.clone(), resource_type, id);
                if change == Change::Deleted.to_string() {
                    latest_in_logs.remove(&key);
                } else {
                    latest_in_logs.insert(key, hash);
                }
            }
            for ((resource_type, id), text) in portal.expected(&patient) {
                let hash = content_hash(&text).to_string();
                expected.insert((patient.clone(), resource_type, id), hash);
            }
        }
        same("the logs", &expected, &latest_in_logs)?;

        let served: BTreeSet<(String, String)> = portal
            .log()
            .into_iter()
            .filter(|entry| entry.seq > served_from)
            .flat_map(|entry| entry.resources)
            .filter(|resource| !resource.id.is_empty())
            .map(|resource| (resource.ty, resource.id))
            .collect();
        for (_, resource_type, id) in expected.keys() {
            ensure!(
                served.contains(&(resource_type.clone(), id.clone())),
                "{resource_type}/{id} was never served"
            );
        }
        for destination in destinations {
            self.delivers(*destination, &expected).await?;
        }
        Ok(())
    }

    async fn delivers(&self, id: DestinationId, expected: &BTreeMap<Key, String>) -> Result<()> {
        let row: Destination = self.core.db.destination(&id.to_string()).await?;
        let delivered = self.delivered(id).await?;
        let mut patients = BTreeMap::new();
        for summary in self.core.db.connections(None, 10_000).await? {
            let connection = self.core.db.connection(summary.id).await?;
            let external = summary.external_id.unwrap_or_default();
            patients.insert(external, connection.source_patient_id);
        }
        // NDJSON does not say whose a line is: there the patients are one.
        let whole = row.format == FileFormat::Parquet;
        let mut latest = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for row in delivered.rows.iter().flatten() {
            let patient = patients.get(&row.patient).filter(|_| whole);
            let key = (
                patient.cloned().unwrap_or_default(),
                row.resource_type.clone(),
                row.id.clone(),
            );
            ensure!(
                !whole || seen.insert((key.clone(), row.batch_seq)),
                "{key:?} of batch {} was delivered twice",
                row.batch_seq
            );
            if row.content_hash.is_empty() {
                latest.remove(&key);
            } else {
                latest.insert(key, row.content_hash.clone());
            }
        }
        let wanted = expected.iter().map(|((patient, resource_type, id), hash)| {
            let patient = if whole {
                patient.clone()
            } else {
                String::new()
            };
            ((patient, resource_type.clone(), id.clone()), hash.clone())
        });
        same(&row.name, &wanted.collect(), &latest)
    }
}

/// (patient, type, id)
type Key = (String, String, String);

fn same(what: &str, expected: &BTreeMap<Key, String>, found: &BTreeMap<Key, String>) -> Result<()> {
    for (key, hash) in expected {
        let there = found
            .get(key)
            .with_context(|| format!("{what}: {key:?} is lost"))?;
        ensure!(there == hash, "{what}: {key:?} is not the newest version");
    }
    if let Some(key) = found.keys().find(|key| !expected.contains_key(*key)) {
        bail!("{what}: {key:?} should not be there");
    }
    Ok(())
}

/// Pages of searches that were served before in this part of the log: the price
/// of kills. A page is known by what it holds, since each search has cursors of
/// its own.
#[must_use]
pub fn refetched_pages(log: &[LogEntry]) -> u64 {
    let mut seen = BTreeSet::new();
    log.iter()
        .filter(|entry| is_page(entry))
        .map(|entry| {
            let held = entry.resources.iter();
            let held: Vec<(&str, &str)> = held.map(|of| (&*of.ty, &*of.id)).collect();
            u64::from(!seen.insert(held))
        })
        .sum()
}

/// Pages that one staging object may hold at most: the smallest of the log that
/// together stay below `target_bytes`, and the one that fills it.
#[must_use]
pub fn pages_per_object(
    log: &[LogEntry],
    sizes: &BTreeMap<(String, String), u64>,
    target_bytes: u64,
) -> u64 {
    let mut pages: Vec<u64> = log
        .iter()
        .filter(|entry| is_page(entry))
        .map(|entry| {
            let of = |held: &sandbox::Served| sizes.get(&(held.ty.clone(), held.id.clone()));
            entry.resources.iter().filter_map(of).sum()
        })
        .collect();
    pages.sort_unstable();
    let mut filled = 0;
    let below = pages.iter().take_while(|bytes| {
        filled += **bytes;
        filled < target_bytes
    });
    below.count() as u64 + 1
}

/// A page of a search that holds something: an empty one costs nothing to keep.
fn is_page(entry: &LogEntry) -> bool {
    let path = entry.path.split('?').next().unwrap_or_default();
    let read = path.trim_start_matches("/fhir").matches('/').count() > 1;
    entry.status == 200 && !entry.resources.is_empty() && !read
}

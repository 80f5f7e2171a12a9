//! What came of the runs, per resource type. Delivered is what the publications
//! of this run list, not what somebody says of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use db::{Db, Destination};
use destination::FileDestination;
use model::{Part, PullCounts};

use super::progress::Runs;
use super::setup::Scene;
use crate::output::{Table, bytes, grouped};

/// Publications read at once.
const PAGE: u32 = 100;

#[derive(Debug, Default)]
struct OfType {
    pulled: PullCounts,
    /// Rows per destination.
    delivered: Vec<u64>,
}

#[derive(Debug, Default)]
struct OfDestination {
    name: String,
    rows: u64,
    files: u64,
    size_bytes: u64,
    publications: u64,
}

/// What a run brought.
#[derive(Debug, Default)]
pub(super) struct Summary {
    types: BTreeMap<String, OfType>,
    destinations: Vec<OfDestination>,
    total: PullCounts,
}

impl Summary {
    pub(super) async fn of(db: &Db, scene: &Scene, runs: &Runs) -> Result<Self> {
        let mut summary = Self::default();
        for pull in runs.pulls() {
            for of in db.pull_types(*pull).await? {
                summary.types.entry(of.resource_type).or_default().pulled += of.counts;
                summary.total += of.counts;
            }
        }
        for (at, destination) in scene.destinations.iter().enumerate() {
            let mut of = OfDestination {
                name: destination.name.clone(),
                ..OfDestination::default()
            };
            for part in new_parts(db, destination, &mut of).await? {
                let delivered = &mut summary
                    .types
                    .entry(part.resource_type)
                    .or_default()
                    .delivered;
                delivered.resize(delivered.len().max(at + 1), 0);
                delivered[at] += part.row_count;
                of.rows += part.row_count;
                of.files += 1;
                of.size_bytes += part.size_bytes;
            }
            summary.destinations.push(of);
        }
        Ok(summary)
    }

    /// The table and what stands under it.
    pub(super) fn lines(&self, elapsed: Duration) -> Vec<String> {
        let mut headers = vec![
            "resource type",
            "fetched",
            "new",
            "changed",
            "unchanged",
            "other",
        ];
        headers.extend(self.destinations.iter().map(|of| of.name.as_str()));
        let mut table = Table::new(&headers, 1);
        for (name, of) in &self.types {
            let delivered =
                (0..self.destinations.len()).map(|at| of.delivered.get(at).copied().unwrap_or(0));
            table.row(row(name, &of.pulled, delivered));
        }
        table.row(row(
            "all",
            &self.total,
            self.destinations.iter().map(|of| of.rows),
        ));
        let mut lines = vec![String::new()];
        lines.extend(table.lines());
        lines.extend(self.other());
        lines.push(String::new());
        for of in &self.destinations {
            lines.push(match of.rows {
                0 => format!("{}: nothing to deliver, nothing was lacking", of.name),
                rows => format!(
                    "{}: {} rows in {} files, {}, {} publication(s)",
                    of.name,
                    grouped(rows),
                    grouped(of.files),
                    bytes(of.size_bytes),
                    of.publications
                ),
            });
        }
        lines.push(format!("elapsed: {:.1} s", elapsed.as_secs_f64()));
        lines
    }

    /// What the column `other` is made of.
    fn other(&self) -> Option<String> {
        let of = &self.total;
        let parts = [
            (of.repeated, "served twice"),
            (of.superseded, "older versions"),
            (of.ignored, "not asked for"),
            (of.rejected, "rejected (no usable id or type)"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        (!parts.is_empty()).then(|| format!("other: {}", parts.join(", ")))
    }
}

fn row(name: &str, of: &PullCounts, delivered: impl Iterator<Item = u64>) -> Vec<String> {
    let other = of.repeated + of.superseded + of.ignored + of.rejected;
    let counts = [of.fetched, of.new, of.changed, of.unchanged, other];
    std::iter::once(name.to_owned())
        .chain(counts.into_iter().chain(delivered).map(grouped))
        .collect()
}

/// The parts published since the scene was set.
async fn new_parts(
    db: &Db,
    destination: &Destination,
    of: &mut OfDestination,
) -> Result<Vec<Part>> {
    let files = FileDestination::open(&destination.location, destination.id)?;
    let (mut parts, mut after) = (Vec::new(), destination.last_publication);
    loop {
        let page = db.publications(destination.id, after, PAGE).await?;
        for row in &page {
            let publication = files.publication(row.number).await?;
            let publication =
                publication.with_context(|| format!("publication {} is not there", row.number))?;
            of.publications += 1;
            parts.extend(publication.parts);
        }
        match page.last() {
            Some(last) => after = last.number,
            None => return Ok(parts),
        }
    }
}

//! The live table in a workflow's current details: Markdown for the Temporal UI.

use std::collections::BTreeMap;
use std::fmt::Write;

use steps::{ChunkReceipt, MaintainReport, PlanReceipt, TypeProgress};

/// Rows shown at most; the rest is summed up in one.
const ROWS_MAX: usize = 40;

/// Lines of a pull by type.
#[derive(Default)]
pub(crate) struct PullTable(BTreeMap<String, TypeProgress>);

impl PullTable {
    pub(crate) fn new(lines: Vec<TypeProgress>) -> Self {
        let mut table = Self::default();
        table.update(lines);
        table
    }

    pub(crate) fn update(&mut self, lines: Vec<TypeProgress>) {
        for line in lines {
            // Single reads of a type are not shown instead of its search.
            let is_searched = |known: &TypeProgress| known.plan_hash.is_some();
            if line.plan_hash.is_some() || !self.0.get(&line.resource_type).is_some_and(is_searched)
            {
                self.0.insert(line.resource_type.clone(), line);
            }
        }
    }

    pub(crate) fn lines(&self) -> Vec<TypeProgress> {
        self.0.values().cloned().collect()
    }

    pub(crate) fn markdown(&self, headline: &str) -> String {
        let mut text =
            format!("**{headline}**\n\n| type | pages | fetched | state |\n|---|---:|---:|---|\n");
        for line in self.0.values().take(ROWS_MAX) {
            let state = line.outcome.map_or("fetching", model::TypeOutcome::as_str);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {state} |",
                line.resource_type, line.pages, line.fetched
            );
        }
        if self.0.len() > ROWS_MAX {
            let _ = writeln!(text, "| and {} more | | | |", self.0.len() - ROWS_MAX);
        }
        text
    }
}

/// The lines of an export.
pub(crate) fn export(headline: &str, plan: &PlanReceipt, done: &[ChunkReceipt]) -> String {
    let rows: u64 = done.iter().map(|chunk| chunk.counts.delivered).sum();
    let parts: u64 = done.iter().map(|chunk| chunk.parts).sum();
    let bytes: u64 = done.iter().map(|chunk| chunk.size_bytes).sum();
    format!(
        "**{headline}**\n\n| publication | connections | rows planned | chunks | rows written | files | bytes |\n\
         |---:|---:|---:|---|---:|---:|---:|\n| {} | {} | ≤ {} | {} of {} | {rows} | {parts} | {bytes} |\n",
        plan.number,
        plan.connections,
        plan.rows,
        done.len(),
        plan.chunk_count,
    )
}

/// What a pass of the upkeep has done so far.
pub(crate) fn maintain(headline: &str, report: &MaintainReport) -> String {
    let MaintainReport {
        merged,
        records,
        destinations,
        forgotten_rows,
        failures,
    } = report;
    format!(
        "**{headline}**\n\n| | done | failed | left alone |\n|---|---|---:|---:|\n\
         | merge | {} logs: {} batches of {} bytes became {} bytes | {} | |\n\
         | record store | {} objects removed, {} connections looked through | {} | {} |\n\
         | destinations | {} files removed, {} destinations looked through | {} | {} |\n\
         | old runs | {forgotten_rows} rows forgotten | {} | |\n",
        merged.logs,
        merged.batches,
        merged.bytes_before,
        merged.bytes_after,
        merged.failed,
        records.removed,
        records.looked_through,
        records.failed,
        records.unknown,
        destinations.removed,
        destinations.looked_through,
        destinations.failed,
        destinations.unknown,
        failures.len(),
    )
}

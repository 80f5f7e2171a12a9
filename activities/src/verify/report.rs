//! What `verify` looked at and what it found.

use serde::Serialize;

/// Findings kept: whoever has more than that has one cause to look for.
const FINDINGS_MAX: usize = 1000;
/// Orphans named.
const ORPHANS_NAMED_MAX: usize = 20;

/// How much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Connections.
    pub connections: u64,
    /// Batches of their logs.
    pub batches: u64,
    /// Rows of these batches.
    pub rows: u64,
    /// Whether every text was read and hashed, in the store and at destinations.
    pub bodies: bool,
    /// Pulls that have ended.
    pub pulls: u64,
    /// Exports that have ended.
    pub exports: u64,
    /// Destinations.
    pub destinations: u64,
    /// Publications.
    pub publications: u64,
    /// Their files.
    pub parts: u64,
    /// Rows of these files that were compared with the log.
    pub part_rows: u64,
    /// Publications that stand and are not taken over yet: the next export does.
    pub publications_ahead: u64,
    /// Publications whose rows could not be compared, for the findings they or
    /// the logs have, or because a lost database knew their batches.
    pub publications_not_compared: u64,
    /// Publications of batches that were merged since: what merging left was
    /// looked for, and rows that it dropped are not taken for strangers.
    pub publications_merged: u64,
    /// Files of no publication: left over by cut-off attempts, harmless.
    pub orphans: u64,
    /// The first of them, destination and name.
    pub orphan_objects: Vec<String>,
    /// Objects of the record store.
    pub stored_objects: u64,
    /// Those of our own that no row names: left over by cut-off attempts or not
    /// swept yet, harmless.
    pub stored_left_over: u64,
    /// Deletions that wait for a decision, by pull.
    pub held: u64,
    /// Attachments whose bytes are kept.
    pub attachments: u64,
}

impl Checked {
    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.batches += other.batches;
        self.rows += other.rows;
        self.bodies |= other.bodies;
        self.pulls += other.pulls;
        self.exports += other.exports;
        self.destinations += other.destinations;
        self.publications += other.publications;
        self.parts += other.parts;
        self.part_rows += other.part_rows;
        self.publications_ahead += other.publications_ahead;
        self.publications_not_compared += other.publications_not_compared;
        self.publications_merged += other.publications_merged;
        self.orphans += other.orphans;
        self.orphan_objects.extend(other.orphan_objects);
        self.orphan_objects.truncate(ORPHANS_NAMED_MAX);
        self.stored_objects += other.stored_objects;
        self.stored_left_over += other.stored_left_over;
        self.held += other.held;
        self.attachments += other.attachments;
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The invariant that does not hold, `I1` to `I11`.
    pub invariant: &'static str,
    /// What kind of finding it is; does not change between versions.
    pub code: &'static str,
    /// What it is about: our ids, names of objects.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub action: String,
}

/// The result of `verify`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What was looked at.
    pub checked: Checked,
    /// What was found, the first 1,000.
    pub findings: Vec<Finding>,
    /// Findings beyond these.
    pub findings_left_out: u64,
    /// Runs that were running: listed, not judged.
    pub in_flight: Vec<String>,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a finding. `kind` is the invariant and the code.
    pub(super) fn find(
        &mut self,
        kind: (&'static str, &'static str),
        object: impl ToString,
        what: impl Into<String>,
        action: impl Into<String>,
    ) {
        if self.findings.len() >= FINDINGS_MAX {
            self.findings_left_out += 1;
            return;
        }
        let (invariant, code) = kind;
        let object = object.to_string();
        self.findings.push(Finding {
            invariant,
            code,
            object,
            what: what.into(),
            action: action.into(),
        });
    }

    /// Takes in what a look found.
    pub(super) fn absorb(&mut self, seen: Self) {
        self.checked.add(seen.checked);
        self.findings_left_out += seen.findings_left_out;
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        self.findings_left_out += seen.findings.len().saturating_sub(room) as u64;
        self.findings.extend(seen.findings.into_iter().take(room));
        for run in seen.in_flight {
            self.add_in_flight(run);
        }
    }

    pub(super) fn add_orphan(&mut self, name: impl FnOnce() -> String) {
        self.checked.orphans += 1;
        if self.checked.orphan_objects.len() < ORPHANS_NAMED_MAX {
            self.checked.orphan_objects.push(name());
        }
    }

    pub(super) fn add_in_flight(&mut self, run: String) {
        if !self.in_flight.contains(&run) {
            self.in_flight.push(run);
        }
    }
}

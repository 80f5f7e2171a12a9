//! The coverage of a pull: what its steps say of each type, in one line, and the true
//! counts that settle adds.

use std::collections::BTreeMap;

use db::{Db, PullType};
use model::{AttachmentCounts, PullCounts, PullId, RunState, TypeNote, TypeOutcome};
use records::Settled;
use steps::{
    ATTACHMENTS_STEP, AttachmentReceipt, HeldReceipt, PullPlan, PullStepReceipt, TypeProgress,
};

use crate::failure::Failure;
use crate::pull_progress::Line;

/// What the steps of a pull say of it.
#[derive(Default)]
pub(crate) struct Coverage {
    /// A line for each type.
    pub(crate) lines: BTreeMap<String, TypeProgress>,
    /// The deletions that are held back.
    pub(crate) held: Option<HeldReceipt>,
    /// Whether what the resources refer to could be read, as far as it is granted.
    pub(crate) follows_all: bool,
    /// What became of attachments; none where they were not looked for.
    pub(crate) attachments: Option<AttachmentCounts>,
}

impl Coverage {
    /// Whether masked copies were met.
    pub(crate) fn has_masked(&self) -> bool {
        let mut notes = self.lines.values().flat_map(|line| &line.notes);
        notes.any(|note| note.code == TypeNote::MASKED)
    }

    /// A type that the grant does not reach. Single resources of it may have been read,
    /// since others refer to them; it was not had whole by that.
    fn not_granted(&mut self, resource_type: String) {
        let line = self.lines.entry(resource_type);
        let line = line.or_insert_with_key(|name| Line::default().progress(name));
        let is_searched = line.plan_hash.is_some();
        if !is_searched && line.outcome.is_none_or(|of| of == TypeOutcome::Complete) {
            line.outcome = Some(TypeOutcome::NotGranted);
        }
    }
}

/// What the finished steps say. A type that two steps met (by search and by
/// reference) has one line.
pub(crate) async fn coverage(db: &Db, pull: PullId) -> Result<Coverage, Failure> {
    let run_id = pull.to_string();
    let mut receipts: Vec<(String, PullStepReceipt)> = db.step_receipts(&run_id, "pages-").await?;
    let references: Vec<(String, PullStepReceipt)> =
        db.step_receipts(&run_id, "references").await?;
    let of_references = references.iter().flat_map(|(_, receipt)| &receipt.types);
    let mut attachments: Vec<(String, AttachmentReceipt)> =
        db.step_receipts(&run_id, ATTACHMENTS_STEP).await?;
    let mut coverage = Coverage {
        attachments: attachments.pop().map(|(_, receipt)| receipt.counts),
        follows_all: of_references
            .filter_map(|line| line.outcome)
            .all(|outcome| outcome == TypeOutcome::Complete),
        ..Coverage::default()
    };
    receipts.extend(references);
    coverage.held = receipts
        .iter_mut()
        .find_map(|(_, receipt)| receipt.held.take());
    for line in receipts.into_iter().flat_map(|(_, receipt)| receipt.types) {
        match coverage.lines.get_mut(&line.resource_type) {
            None => {
                coverage.lines.insert(line.resource_type.clone(), line);
            }
            Some(known) => {
                known.pages += line.pages;
                known.fetched += line.fetched;
                known.ignored += line.ignored;
                known.rejected += line.rejected;
                known.notes = notes(std::mem::take(&mut known.notes), line.notes);
                if known.outcome == Some(TypeOutcome::Complete) {
                    known.outcome = line.outcome;
                    known.error_code = line.error_code;
                }
            }
        }
    }
    let plans: Vec<(String, PullPlan)> = db.step_receipts(&run_id, "plan").await?;
    for name in plans.into_iter().flat_map(|(_, plan)| plan.not_granted) {
        coverage.not_granted(name);
    }
    Ok(coverage)
}

/// The remarks of two lines of a type: those that say the same are one.
fn notes(mut known: Vec<TypeNote>, further: Vec<TypeNote>) -> Vec<TypeNote> {
    for note in further {
        let is_same = |other: &&mut TypeNote| {
            (&other.code, &other.parameter, &other.values)
                == (&note.code, &note.parameter, &note.values)
        };
        match known.iter_mut().find(is_same) {
            Some(same) => same.count += note.count,
            None => known.push(note),
        }
    }
    known
}

/// How the pull ends: completed only if every type that the grant reaches was had
/// whole, nothing waits for a decision and the source failed at no attachment.
pub(crate) fn end_of(coverage: &Coverage) -> (RunState, Option<&'static str>) {
    let is_had = |line: &TypeProgress| {
        let outcome = line.outcome;
        outcome.is_some_and(|of| matches!(of, TypeOutcome::Complete | TypeOutcome::NotGranted))
    };
    if coverage.held.is_some() {
        (RunState::Partial, Some("deletes_held"))
    } else if !coverage.lines.values().all(is_had) {
        (RunState::Partial, Some("types_incomplete"))
    } else if coverage.attachments.is_some_and(|counts| counts.failed > 0) {
        (RunState::Partial, Some("attachments_incomplete"))
    } else {
        (RunState::Completed, None)
    }
}

/// The coverage with true counts, and their sum.
pub(crate) fn sum_up(
    lines: &BTreeMap<String, TypeProgress>,
    settled: &Settled,
) -> (BTreeMap<String, PullType>, PullCounts) {
    let mut types: BTreeMap<String, PullType> = BTreeMap::new();
    for name in lines.keys().chain(settled.counts_by_type.keys()) {
        let line = lines.get(name);
        let mut counts = settled
            .counts_by_type
            .get(name)
            .copied()
            .unwrap_or_default();
        counts.ignored += line.map_or(0, |line| line.ignored);
        counts.rejected += line.map_or(0, |line| line.rejected);
        counts.fetched += line.map_or(0, |line| line.ignored + line.rejected);
        let mut notes = line.map(|line| line.notes.clone()).unwrap_or_default();
        if let Some(left_out) = settled.left_out_by_type.get(name) {
            notes.push(TypeNote::counted(TypeNote::MASKED_LEFT_OUT, *left_out));
        }
        let of = PullType {
            resource_type: name.clone(),
            mode: line.and_then(|line| line.mode),
            // A type that came only as an include was not asked for.
            outcome: line
                .and_then(|line| line.outcome)
                .unwrap_or(TypeOutcome::Complete),
            error_code: line.and_then(|line| line.error_code.clone()),
            pages: line.map_or(0, |line| line.pages),
            notes,
            counts,
        };
        types.insert(name.clone(), of);
    }
    let mut counts = PullCounts::default();
    for of in types.values() {
        counts += of.counts;
    }
    (types, counts)
}

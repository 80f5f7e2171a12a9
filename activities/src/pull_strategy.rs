//! Strategies: the step that asks for many types at once, before the searches. The
//! types that it had whole are not searched for; all others are, so that whatever a
//! source leaves out or refuses, the pull knows as much as by searches alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db::Connection;
use model::{Strategy, TypeNote, TypeOutcome};
use serde::Serialize;
use source::{Access, Page, ReadOutcome, SourceClient, StreamPlan};
use steps::{PullStepReceipt, StepTitle, TypeProgress};

use crate::Context;
use crate::context::parse_base;
use crate::failure::Failure;
use crate::pull_export_progress::ExportProgress;
use crate::pull_progress::{StepProgress, Stream, encode};
use crate::pull_sieve::{PATIENT, Sieve, Told};

/// Under these names, which no type has, it is noted that a source refuses an
/// operation.
const EVERYTHING: &str = "$everything";
const EXPORT: &str = "$export";

/// How a pull begins.
pub(crate) struct Beginning {
    /// The step before the searches, with its progress.
    pub(crate) step: Option<(StepTitle, Vec<u8>)>,
    /// Whether the strategy that is set is known to be refused.
    pub(crate) is_refused: bool,
}

/// What `strategy` begins a pull with that plans `searches`, by what was learned of the
/// source.
pub(crate) fn beginning(
    strategy: Strategy,
    searches: &[StreamPlan],
    learned: &BTreeMap<String, Vec<u8>>,
) -> Beginning {
    let Some(operation) = operation(strategy) else {
        return Beginning {
            step: None,
            is_refused: false,
        };
    };
    if learned.contains_key(operation) {
        return Beginning {
            step: None,
            is_refused: true,
        };
    }
    let wanted = searches.iter().map(|plan| plan.resource_type.clone());
    let sieve = Sieve::new(wanted.collect());
    let title = |name: &str, title: &str| StepTitle {
        name: name.to_owned(),
        title: title.to_owned(),
    };
    let step = match strategy {
        Strategy::Bulk => (
            title(steps::EXPORT_STEP, "fetch a bulk export of the patient"),
            encode(&ExportProgress::new(sieve)),
        ),
        _ => (
            title(steps::EVERYTHING_STEP, "fetch what $everything gives"),
            encode(&everything(sieve)),
        ),
    };
    Beginning {
        step: Some(step),
        is_refused: false,
    }
}

fn operation(strategy: Strategy) -> Option<&'static str> {
    match strategy {
        Strategy::Search => None,
        Strategy::Everything => Some(EVERYTHING),
        Strategy::Bulk => Some(EXPORT),
    }
}

fn everything(sieve: Sieve) -> StepProgress {
    let mut stream = Stream::new(StreamPlan::new(PATIENT, Access::Everything));
    stream.sieve = Some(sieve);
    StepProgress {
        streams: vec![stream],
        ..StepProgress::default()
    }
}

/// The types that a step before the searches had whole.
pub(crate) async fn had_before(
    context: &Context,
    run_id: &str,
    step: &str,
) -> Result<BTreeSet<String>, Failure> {
    let receipts: Vec<(String, PullStepReceipt)> = context.db.step_receipts(run_id, step).await?;
    let lines = receipts.into_iter().flat_map(|(_, receipt)| receipt.types);
    Ok(lines
        .filter(|line| line.plan_hash.is_some())
        .map(|line| line.resource_type)
        .collect())
}

/// What is noted where a source refuses an operation.
#[derive(Serialize)]
struct Refusal {
    error_code: &'static str,
}

/// Notes that a source refuses what a strategy asks, so that the next pulls begin with
/// searches. Where not even the patient can be read, that is no refusal of the
/// operation's.
pub(crate) async fn remember_refusal(
    context: &Context,
    client: &SourceClient,
    connection: &Connection,
    strategy: Strategy,
    time_to_live: Duration,
) -> Result<(), Failure> {
    let Some(operation) = operation(strategy) else {
        return Ok(());
    };
    let read = client.read(PATIENT, &connection.source_patient_id).await;
    if matches!(read, Ok(ReadOutcome::Found(_))) {
        let refusal = encode(&Refusal {
            error_code: "refused",
        });
        let source = connection.summary.source_id;
        context
            .db
            .remember_source_plan(source, operation, &refusal, time_to_live)
            .await?;
    }
    Ok(())
}

/// Says on the patient's line what became of a strategy that did not bring everything.
pub(crate) fn remark(lines: &mut Vec<TypeProgress>, code: &str) {
    let note = TypeNote::counted(code, 0);
    match lines.iter_mut().find(|line| line.resource_type == PATIENT) {
        Some(line) => line.notes.push(note),
        None => {
            let mut line = crate::pull_progress::Line::default().progress(PATIENT);
            line.outcome = Some(TypeOutcome::Complete);
            line.notes.push(note);
            lines.push(line);
        }
    }
}

impl Stream {
    /// Whether the source refused `$everything`, for whomever it asks.
    pub(crate) fn refuses_everything(&self) -> bool {
        self.plan.access == Access::Everything
            && self.line.outcome == Some(TypeOutcome::Refused)
            && self.line.error_code.as_deref() == Some("refused")
    }

    /// Leaves of a page of `$everything` what is taken; any other page stays as it is.
    pub(crate) fn sift(&mut self, mut page: Page, of: &Connection) -> Result<Page, Failure> {
        if let Some(sieve) = &mut self.sieve {
            let base = parse_base(&of.base_url)?;
            let patient = &of.source_patient_id;
            page.resources
                .retain(|resource| sieve.takes(resource, patient, &base, true));
        }
        Ok(page)
    }

    /// The lines of its types: one, unless it gives all at once.
    pub(crate) fn lines(&self) -> Vec<TypeProgress> {
        match &self.sieve {
            Some(sieve) => self.lines_of_everything(sieve),
            None => vec![self.progress()],
        }
    }

    /// A type that appeared counts as had, if every page was read: whether the source
    /// gives all of it by `$everything` nobody can say, which the remark tells. One that
    /// did not appear may well be there.
    fn lines_of_everything(&self, sieve: &Sieve) -> Vec<TypeProgress> {
        let mut sieve = sieve.clone();
        let is_whole = self.line.outcome == Some(TypeOutcome::Complete);
        let had: BTreeSet<String> = sieve
            .wanted()
            .filter(|name| is_whole && sieve.has(name))
            .map(str::to_owned)
            .collect();
        // What is of no type of its own stands with the patient.
        let line = sieve.line(PATIENT);
        line.pages += self.line.pages;
        line.fetched += self.line.ignored + self.line.rejected;
        line.ignored += self.line.ignored;
        line.rejected += self.line.rejected;
        line.reasons.extend(self.line.reasons.clone());
        let mut lines = sieve.progress(&Told {
            way: TypeNote::BY_EVERYTHING,
            had: &had,
            may_lack: true,
            is_over: self.is_done(),
        });
        if self.refuses_everything() {
            remark(&mut lines, TypeNote::STRATEGY_REFUSED);
        } else if self.is_done() && !is_whole {
            remark(&mut lines, TypeNote::STRATEGY_FAILED);
        }
        lines
    }
}

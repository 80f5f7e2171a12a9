//! How a stream goes on when its source refuses to be asked so: without `_count`,
//! then value by value; and how it ends when all its searches have.
//!
//! Invariant: a value that is refused costs itself alone, and a type of which a
//! part was refused is never complete.

use model::{TypeNote, TypeOutcome};
use serde::{Deserialize, Serialize};
use source::{Access, FanOut, FirstPage, Said, StreamPlan};

use crate::pull_progress::Stream;

/// Parameters that a remark may name; of others, which a grant's scopes may hold,
/// it says that there is one.
const NAMED_PARAMETERS: [&str; 4] = ["category", "intent", "lifecycle-status", "status"];

/// Where a stream stands among its searches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Queries {
    /// The value at work.
    pub(crate) value: usize,
    /// Searches that were answered to their last page.
    answered: usize,
    /// Values that were refused.
    refused: Vec<usize>,
    /// Parameters by which the type was asked for in vain.
    tried: Vec<String>,
    /// The refusal that led here did not say what is wanted.
    unhinted: bool,
    /// Whether leaving out `_count` was tried.
    count_dropped: bool,
    /// Whether a refusal without words was asked for once more.
    asked_again: bool,
    /// The plan was learned by an earlier pull.
    remembered: bool,
    /// The plan was learned by this one.
    learned: bool,
    /// What an earlier pull learned does not hold any more.
    disproved: bool,
    /// The worst that became of a search that did not end well.
    trouble: Option<(TypeOutcome, String)>,
}

/// What a stream learned about its source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lesson<'a> {
    Nothing,
    /// This worked, where the plain search was refused.
    Remember(&'a StreamPlan),
    /// What was remembered does not work any more.
    Forget,
}

impl Stream {
    /// A stream that asks as an earlier pull learned.
    pub(crate) fn remembered(plan: StreamPlan) -> Self {
        let mut stream = Self::new(plan);
        stream.queries.remembered = true;
        stream
    }

    /// Where the first page of the search at work stands.
    pub(crate) fn first_page(&self) -> FirstPage {
        FirstPage {
            value: self.queries.value,
            count: self.count,
            since: self.updates.since,
        }
    }

    /// A first page was refused: asks otherwise, goes on with the next value, or
    /// ends.
    pub(crate) fn refuse(&mut self, status: u16, said: &Said, code: &str) {
        let names_no_demand = said.names_count || said.demand.is_none();
        if status == 400 && !self.queries.count_dropped && names_no_demand {
            self.queries.count_dropped = true;
            if !self.plan.without_count {
                self.plan.without_count = true;
                self.queries.learned = true;
                return;
            }
        }
        if self.plan.access == Access::Everything {
            // A failure that has much to say is no refusal.
            let outcome = match status {
                500 => TypeOutcome::GaveUp,
                _ => TypeOutcome::Refused,
            };
            return self.end(outcome, Some(code));
        }
        if self.plan.fan_out.is_none() {
            if status == 404 && self.ask_again(said) {
                return;
            }
            let wants_another = said.demand.is_some() || matches!(status, 400 | 404);
            if !wants_another || !self.fan_out(said) {
                self.end(TypeOutcome::Refused, Some(code));
            }
            return;
        }
        self.queries.refused.push(self.queries.value);
        // Where not even the refusal said that something else is wanted, a second 404
        // says that the type is not there.
        let is_hopeless = self.queries.unhinted
            && self.queries.answered == 0
            && status == 404
            && said.demand.is_none();
        if is_hopeless {
            return self.end(TypeOutcome::Refused, Some(code));
        }
        if self.next_value() {
            return;
        }
        if self.queries.answered == 0 && (self.fan_out(said) || self.start_plainly()) {
            return;
        }
        self.conclude(code);
    }

    /// The search at work ended at its last page.
    pub(crate) fn answer(&mut self) {
        self.queries.answered += 1;
        if !self.next_value() {
            self.conclude("refused");
        }
    }

    /// The search at work ended in another way: the others go on.
    pub(crate) fn stop(&mut self, outcome: TypeOutcome, code: &str) {
        self.queries
            .trouble
            .get_or_insert_with(|| (outcome, code.to_owned()));
        if !self.next_value() {
            self.conclude(code);
        }
    }

    /// A 404 that does not say what is wanted may be a passing fault: believed the
    /// second time, before the type is asked for in a way that misses resources.
    fn ask_again(&mut self, said: &Said) -> bool {
        let queries = &mut self.queries;
        let leads_on = source::fan_out(&self.plan.resource_type, said, &queries.tried).is_some();
        said.demand.is_none() && leads_on && !std::mem::replace(&mut queries.asked_again, true)
    }

    /// Asks value by value, if there are values that were not tried.
    fn fan_out(&mut self, said: &Said) -> bool {
        let queries = &mut self.queries;
        if let Some(FanOut { parameter, .. }) = &self.plan.fan_out {
            queries.tried.push(parameter.clone());
        }
        let Some(fan_out) = source::fan_out(&self.plan.resource_type, said, &queries.tried) else {
            return false;
        };
        queries.unhinted = said.demand.is_none();
        queries.learned = true;
        self.plan.fan_out = Some(fan_out);
        // It was not `_count` that was at fault.
        self.plan.without_count = false;
        self.begin_again();
        true
    }

    /// What an earlier pull learned does not hold any more: asks plainly, once.
    fn start_plainly(&mut self) -> bool {
        if !std::mem::take(&mut self.queries.remembered) {
            return false;
        }
        self.plan.fan_out = None;
        self.plan.without_count = false;
        self.queries = Queries {
            disproved: true,
            ..Queries::default()
        };
        self.begin_again();
        true
    }

    /// Begins with the first of the searches, which end as if none had been asked.
    pub(crate) fn begin_anew(&mut self) {
        self.queries.answered = 0;
        self.queries.trouble = None;
        self.begin_again();
    }

    fn begin_again(&mut self) {
        self.queries.value = 0;
        self.queries.refused.clear();
        self.begin_search();
    }

    fn next_value(&mut self) -> bool {
        self.begin_search();
        self.queries.value += 1;
        self.queries.value < self.plan.value_count()
    }

    /// All searches have ended.
    fn conclude(&mut self, code: &str) {
        let code = code.to_owned();
        let found_nothing = self.line.fetched == self.line.ignored;
        if self.queries.unhinted && found_nothing {
            // Nobody said that values are wanted, and asking for them found nothing:
            // that is no empty type.
            self.queries.learned = false;
            return self.end(TypeOutcome::Refused, Some("refused"));
        }
        if let Some((outcome, code)) = self.queries.trouble.take() {
            self.end(outcome, Some(&code));
        } else if self.queries.answered == 0 {
            self.end(TypeOutcome::Refused, Some(&code));
        } else if self.suppressed {
            self.end(TypeOutcome::Suppressed, Some("suppressed"));
        } else if self.queries.refused.is_empty() {
            self.end(TypeOutcome::Complete, None);
        } else {
            self.end(TypeOutcome::Suppressed, Some(TypeNote::VALUES_REFUSED));
        }
    }

    /// What was learned about how to ask the source for the type, once the stream has
    /// ended.
    pub(crate) fn lesson(&self) -> Lesson<'_> {
        if self.is_done() && self.queries.learned && self.queries.answered > 0 {
            Lesson::Remember(&self.plan)
        } else if self.is_done() && self.queries.disproved {
            Lesson::Forget
        } else {
            Lesson::Nothing
        }
    }

    /// What is to be said of how a type had to be asked for.
    pub(crate) fn notes(&self) -> Vec<TypeNote> {
        let unfiltered = TypeNote::counted(TypeNote::UNFILTERED, 0);
        let mut notes = Vec::new();
        notes.extend(self.updates.is_unfiltered.then_some(unfiltered));
        notes.extend(self.value_notes());
        notes
    }

    /// What is to be said of a type that was asked for value by value.
    fn value_notes(&self) -> Vec<TypeNote> {
        let Some(fan_out) = &self.plan.fan_out else {
            return Vec::new();
        };
        let parameter = NAMED_PARAMETERS
            .contains(&fan_out.parameter.as_str())
            .then(|| fan_out.parameter.clone());
        let note = |code: &str, values: Vec<&String>, names_values: bool| TypeNote {
            code: code.to_owned(),
            count: values.len() as u64,
            parameter: parameter.clone(),
            values: values
                .into_iter()
                .filter(|value| {
                    names_values
                        && FanOut::is_known(&self.plan.resource_type, &fan_out.parameter, value)
                })
                .cloned()
                .collect(),
        };
        let refused: Vec<&String> = self
            .queries
            .refused
            .iter()
            .filter_map(|at| fan_out.values.get(*at))
            .collect();
        let mut notes = vec![note(
            TypeNote::FANNED_OUT,
            fan_out.values.iter().collect(),
            false,
        )];
        if fan_out.is_lossy() && self.queries.answered > 0 {
            notes.push(note(TypeNote::UNCATEGORISED_UNSEEN, Vec::new(), false));
        }
        if !refused.is_empty() {
            notes.push(note(TypeNote::VALUES_REFUSED, refused, true));
        }
        notes
    }
}

#[cfg(test)]
mod tests;

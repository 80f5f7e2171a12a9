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
mod tests {
    use source::{Categories, Demand};

    use super::*;

    fn stream(resource_type: &str) -> Stream {
        let parameter = "patient".to_owned();
        Stream::new(StreamPlan::new(resource_type, Access::Search { parameter }))
    }

    fn said(demand: Option<Demand>) -> Said {
        Said {
            demand,
            is_outcome: true,
            ..Said::default()
        }
    }

    /// Drives a stream by a server that answers a search (parameter and value, count)
    /// with a refusal or its last page; returns what it was asked.
    fn drive(
        stream: &mut Stream,
        server: impl Fn(Option<(&str, &str)>, bool) -> Result<(), (u16, Said)>,
    ) -> Vec<String> {
        let mut asked = Vec::new();
        while !stream.is_done() {
            let value = stream.plan.fan_out.as_ref().map(|of| {
                let value = of.values[stream.queries.value].clone();
                (of.parameter.clone(), value)
            });
            let value = value.as_ref().map(|(p, v)| (p.as_str(), v.as_str()));
            let with_count = !stream.plan.without_count;
            asked.push(format!("{value:?} {with_count}"));
            assert!(asked.len() < 100, "it never ends");
            match server(value, with_count) {
                Ok(()) => {
                    stream.line.fetched += 1;
                    stream.answer();
                }
                Err((status, said)) => stream.refuse(status, &said, "refused"),
            }
        }
        asked
    }

    fn end(stream: &Stream) -> (TypeOutcome, Option<&str>) {
        (
            stream.line.outcome.unwrap(),
            stream.line.error_code.as_deref(),
        )
    }

    #[test]
    fn epic_observations_are_asked_for_by_category_and_a_refused_one_costs_itself() {
        let mut stream = stream("Observation");
        let refusal = |demand| Err((400, said(Some(demand))));
        let asked = drive(&mut stream, |value, _| match value {
            None => refusal(Demand::Category),
            Some((_, "exam" | "procedure")) => refusal(Demand::Other),
            Some(_) => Ok(()),
        });
        assert_eq!(asked.len(), 14);
        assert_eq!(
            end(&stream),
            (TypeOutcome::Suppressed, Some("values_refused"))
        );
        let notes = stream.notes();
        let codes: Vec<&str> = notes.iter().map(|note| note.code.as_str()).collect();
        assert_eq!(
            codes,
            ["fanned_out", "uncategorised_unseen", "values_refused"]
        );
        assert_eq!(notes[2].values, ["exam", "procedure"]);
        assert_eq!(notes[2].parameter.as_deref(), Some("category"));
        let Lesson::Remember(lesson) = stream.lesson() else {
            panic!("nothing was learned")
        };
        // What this grant does not reach, another may: the values stay in the plan.
        assert_eq!(lesson.value_count(), 13);
    }

    #[test]
    fn epic_care_plans_are_asked_for_by_the_categories_that_it_lists() {
        let mut stream = stream("CarePlan");
        let listed = Said {
            categories: Categories(vec!["38717003".to_owned(), "736353004".to_owned()]),
            ..said(Some(Demand::Other))
        };
        let asked = drive(&mut stream, |value, _| match value {
            None => Err((400, listed.clone())),
            Some(_) => Ok(()),
        });
        assert_eq!(asked.len(), 3);
        assert_eq!(end(&stream), (TypeOutcome::Complete, None));
        let notes = stream.notes();
        assert_eq!((notes.len(), notes[0].count), (2, 2));
        assert!(!format!("{notes:?}").contains("736353004"));
    }

    #[test]
    fn athena_medication_requests_are_asked_for_by_intent() {
        let mut stream = stream("MedicationRequest");
        drive(&mut stream, |value, _| match value {
            Some(("intent", _)) => Ok(()),
            _ => Err((403, said(Some(Demand::Intent)))),
        });
        assert_eq!(end(&stream), (TypeOutcome::Complete, None));
        // Every request has an intent: nothing can be missed.
        assert_eq!(stream.notes().len(), 1);
    }

    #[test]
    fn a_type_that_is_not_granted_is_refused_after_one_request() {
        let mut stream = stream("Observation");
        let asked = drive(&mut stream, |_, _| Err((403, said(None))));
        assert_eq!(asked.len(), 1);
        assert_eq!(end(&stream), (TypeOutcome::Refused, Some("refused")));
        assert_eq!(stream.lesson(), Lesson::Nothing);
        assert!(stream.notes().is_empty());
    }

    #[test]
    fn a_type_that_is_not_there_is_refused_after_three_requests() {
        let mut observations = stream("Observation");
        let asked = drive(&mut observations, |_, _| Err((404, Said::default())));
        assert_eq!(asked.len(), 3);
        assert_eq!(end(&observations).0, TypeOutcome::Refused);
        let mut flags = stream("Flag");
        let asked = drive(&mut flags, |_, _| Err((404, Said::default())));
        assert_eq!(asked.len(), 1);
    }

    /// One fault must not lead to a way of asking that misses resources for weeks.
    #[test]
    fn a_passing_404_teaches_nothing() {
        for faults in [1, 2] {
            let mut stream = stream("Condition");
            let left = std::cell::Cell::new(faults);
            while !stream.is_done() {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    stream.refuse(404, &Said::default(), "refused");
                } else {
                    // No resource has one of the categories.
                    stream.line.fetched += u64::from(stream.plan.fan_out.is_none());
                    stream.answer();
                }
            }
            let (outcome, _) = end(&stream);
            let expected = [TypeOutcome::Complete, TypeOutcome::Refused][faults - 1];
            assert_eq!(outcome, expected, "{faults}");
            assert_eq!(stream.lesson(), Lesson::Nothing, "{faults}");
        }
    }

    #[test]
    fn every_list_is_tried_before_a_type_counts_as_refused() {
        let mut stream = stream("Observation");
        let asked = drive(&mut stream, |_, _| Err((400, said(Some(Demand::Other)))));
        assert_eq!(asked.len(), 1 + 13 + 8);
        assert_eq!(end(&stream), (TypeOutcome::Refused, Some("refused")));
    }

    #[test]
    fn a_server_that_does_not_know_count_is_asked_without() {
        let mut stream = stream("CareTeam");
        let names_count = Said {
            names_count: true,
            ..said(Some(Demand::Other))
        };
        let asked = drive(&mut stream, |_, with_count| match with_count {
            true => Err((400, names_count.clone())),
            false => Ok(()),
        });
        assert_eq!(asked, ["None true", "None false"]);
        assert_eq!(end(&stream), (TypeOutcome::Complete, None));
        assert!(matches!(stream.lesson(), Lesson::Remember(plan) if plan.without_count));
    }

    /// eClinicalWorks blames `_count` where a category is missing.
    #[test]
    fn where_leaving_out_count_does_not_help_it_is_put_back() {
        let mut stream = stream("CarePlan");
        let asked = drive(&mut stream, |value, with_count| match (value, with_count) {
            (Some(_), true) => Ok(()),
            _ => Err((400, said(None))),
        });
        assert_eq!(asked[..2], ["None true", "None false"]);
        assert_eq!(asked.len(), 6);
        assert_eq!(end(&stream), (TypeOutcome::Complete, None));
    }

    #[test]
    fn what_was_learned_is_asked_first_and_forgotten_when_it_does_not_hold() {
        let mut learned = stream("CarePlan");
        drive(&mut learned, |value, _| match value {
            None => Err((400, said(Some(Demand::Category)))),
            Some(_) => Ok(()),
        });
        let mut again = Stream::remembered(learned.plan.clone());
        let asked = drive(&mut again, |value, _| {
            value.map(|_| ()).ok_or((400, said(None)))
        });
        assert_eq!(asked.len(), 4);
        assert_eq!(again.lesson(), Lesson::Nothing);
        let mut changed = Stream::remembered(learned.plan.clone());
        drive(&mut changed, |value, _| match value {
            None => Ok(()),
            Some(_) => Err((403, said(None))),
        });
        assert_eq!(end(&changed), (TypeOutcome::Complete, None));
        assert_eq!(changed.lesson(), Lesson::Forget);
    }

    #[test]
    fn trouble_with_one_value_leaves_the_others_theirs() {
        let mut stream = stream("CareTeam");
        stream.refuse(400, &said(Some(Demand::Status)), "refused");
        stream.answer();
        stream.stop(TypeOutcome::Truncated, "cursor_loop");
        assert!(!stream.is_done());
        stream.answer();
        stream.answer();
        stream.answer();
        assert_eq!(end(&stream), (TypeOutcome::Truncated, Some("cursor_loop")));
    }
}

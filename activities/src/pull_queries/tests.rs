//! Streams against servers that refuse to be asked plainly, in the words of those of the
//! field.

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

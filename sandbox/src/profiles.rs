//! Named sets of knobs: portals as they are in the field.

use crate::data::Data;
use crate::faults::{Answer, Body, Break, Links};
use crate::knobs::{Demand, Knobs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A portal of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Observations and care plans by category alone, some categories not granted;
    /// suppressed conditions; related persons by id alone; unsupported types answered
    /// by a page for people, one without scope by an empty 403; totals that count the
    /// page; no search by `_lastUpdated`.
    EpicLike,
    /// Medication requests by intent alone, with 403; service requests not to be read.
    AthenaLike,
    /// Small pages; a wait that ends by `RateLimit-Reset`; a type answered by 401.
    CernerLike,
    /// Answers that are no FHIR, links that loop and lead away, broken resources.
    Hostile,
}

impl Profile {
    /// Its knobs. Categories of care plans are those of the portal's own.
    pub(crate) fn knobs(self, data: &Data) -> Knobs {
        match self {
            Self::EpicLike => epic_like(data),
            Self::AthenaLike => athena_like(),
            Self::CernerLike => cerner_like(),
            Self::Hostile => hostile(data),
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn set(types: &[&str]) -> BTreeSet<String> {
    types.iter().map(|&name| name.to_owned()).collect()
}

fn answer(status: u16, body: Body) -> Answer {
    Answer {
        status,
        body,
        text: "This is refused.".to_owned(),
        headers: BTreeMap::new(),
        times: None,
    }
}

fn named<T>(named: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
    named
        .into_iter()
        .map(|(name, what)| (name.to_owned(), what))
        .collect()
}

fn epic_like(data: &Data) -> Knobs {
    let categories: Vec<String> = data
        .codes("CarePlan", "category")
        .into_iter()
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let care_plans = format!(
        "59159: A category is required. Use one of {}.",
        categories.join(", ")
    );
    let demand = |values, code: &str, text: &str| Demand {
        parameter: "category".to_owned(),
        values,
        status: 400,
        code: code.to_owned(),
        text: text.to_owned(),
    };
    let granted = words(&["vital-signs", "laboratory", "social-history"]);
    let mut no_scope = answer(403, Body::Empty);
    no_scope.headers.insert(
        "www-authenticate".to_owned(),
        r#"Bearer error="insufficient_scope""#.to_owned(),
    );
    Knobs {
        demands: named([
            (
                "Observation",
                demand(
                    granted,
                    "required",
                    "59108: Must have either code or category.",
                ),
            ),
            ("CarePlan", demand(categories, "business-rule", &care_plans)),
        ]),
        answers: named([
            ("SupplyDelivery", answer(404, Body::Html)),
            ("ImagingStudy", no_scope),
        ]),
        suppressed: set(&["Condition"]),
        next_links: named([
            ("Observation", Links::Session),
            ("ExplanationOfBenefit", Links::Session),
        ]),
        counts_the_page: true,
        ignores_last_updated: data.types().keys().cloned().collect(),
        hides_last_updated: data.types().keys().cloned().collect(),
        ..Knobs::default()
    }
}

fn athena_like() -> Knobs {
    Knobs {
        demands: named([(
            "MedicationRequest",
            Demand {
                parameter: "intent".to_owned(),
                values: Vec::new(),
                status: 403,
                code: "forbidden".to_owned(),
                text: "required parameter combinations [[patient,intent],[_id]]".to_owned(),
            },
        )]),
        answers: named([("ServiceRequest", answer(403, Body::Outcome))]),
        next_links: named([("Observation", Links::Relative)]),
        ..Knobs::default()
    }
}

fn cerner_like() -> Knobs {
    let mut throttled = answer(429, Body::Empty);
    throttled.times = Some(2);
    throttled
        .headers
        .insert("ratelimit-reset".to_owned(), "1".to_owned());
    Knobs {
        answers: named([
            ("Encounter", throttled),
            ("SupplyDelivery", answer(401, Body::Html)),
        ]),
        page_size: Some(10),
        refuses_count: set(&["CareTeam"]),
        next_links: named([("Procedure", Links::PathCase)]),
        ..Knobs::default()
    }
}

fn hostile(data: &Data) -> Knobs {
    let breaks = [
        Break::BrokenJson,
        Break::DuplicateKey,
        Break::TooDeep,
        Break::LoneSurrogate,
        Break::NotUtf8,
        Break::NoId,
    ];
    let once = |body| Answer {
        times: Some(1),
        ..answer(200, body)
    };
    Knobs {
        answers: named([
            ("Claim", answer(200, Body::Html)),
            ("CareTeam", answer(200, Body::History)),
            ("Immunization", once(Body::Truncated)),
            ("Device", answer(500, Body::Outcome)),
        ]),
        next_links: named([
            ("Observation", Links::EmptyPages),
            ("Encounter", Links::Dangling),
            ("Procedure", Links::Loop),
            ("ExplanationOfBenefit", Links::Foreign),
        ]),
        breaks: data
            .keys_of("Condition")
            .zip(breaks.into_iter().cycle())
            .step_by(7)
            .map(|((ty, id), way)| (format!("{ty}/{id}"), way))
            .collect(),
        ignores_last_updated: set(&["Observation", "Encounter"]),
        refuses_last_updated: set(&["Immunization"]),
        ..Knobs::default()
    }
}

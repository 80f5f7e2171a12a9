//! Asking for a type value by value, where a source refuses to be asked for all of
//! it: one search for each category, intent or status.
//!
//! One request for each value and no list of values: a server that does not know
//! one of a list refuses the whole.

use serde::{Deserialize, Serialize};

use crate::said::{Demand, Said};

/// A parameter, and the values to ask for one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// The parameter beside the patient.
    pub parameter: String,
    /// Its values, `code` or `system|code`.
    pub values: Vec<String>,
}

impl FanOut {
    /// Whether resources may lack the parameter's element or have a value that is
    /// not asked for: no such search finds them.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.parameter == "category"
    }

    /// Whether the value is one of ours, so that it may be named to people.
    #[must_use]
    pub fn is_known(resource_type: &str, parameter: &str, value: &str) -> bool {
        lists(resource_type)
            .iter()
            .any(|(name, values)| *name == parameter && values.contains(&value))
    }
}

/// A parameter and its values.
type List = (&'static str, &'static [&'static str]);

const CATEGORY: &str = "category";
const INTENT: &str = "intent";
const STATUS: &str = "status";

const REQUEST_STATUS: List = (
    STATUS,
    &[
        "draft",
        "active",
        "on-hold",
        "revoked",
        "completed",
        "entered-in-error",
        "unknown",
    ],
);
const EVENT_STATUS: List = (
    STATUS,
    &[
        "preparation",
        "in-progress",
        "not-done",
        "on-hold",
        "stopped",
        "completed",
        "entered-in-error",
        "unknown",
    ],
);
const REQUEST_INTENT: List = (
    INTENT,
    &[
        "order",
        "plan",
        "proposal",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "option",
    ],
);

/// The lists for a type, the one that most servers want first. The statuses and
/// intents are all that R4 allows; the categories are those that US Core and the
/// large vendors use.
#[expect(clippy::too_many_lines, reason = "a table")]
fn lists(resource_type: &str) -> &'static [List] {
    match resource_type {
        "Observation" => &[
            (
                CATEGORY,
                &[
                    "social-history",
                    "vital-signs",
                    "imaging",
                    "laboratory",
                    "survey",
                    "exam",
                    "procedure",
                    "therapy",
                    "activity",
                    "sdoh",
                    "functional-status",
                    "disability-status",
                    "cognitive-status",
                ],
            ),
            (
                STATUS,
                &[
                    "registered",
                    "preliminary",
                    "final",
                    "amended",
                    "corrected",
                    "cancelled",
                    "entered-in-error",
                    "unknown",
                ],
            ),
        ],
        // The codes are SNOMED CT's for longitudinal, encounter-level and outpatient
        // plans, as Epic has them.
        "CarePlan" => &[
            (
                CATEGORY,
                &["assess-plan", "38717003", "734163000", "736271009"],
            ),
            REQUEST_STATUS,
        ],
        "CareTeam" => &[(
            STATUS,
            &[
                "active",
                "proposed",
                "suspended",
                "inactive",
                "entered-in-error",
            ],
        )],
        "Condition" => &[(
            CATEGORY,
            &["problem-list-item", "encounter-diagnosis", "health-concern"],
        )],
        // The codes are LOINC's parts for cardiology, pathology and radiology.
        "DiagnosticReport" => &[
            (
                CATEGORY,
                &["LAB", "RAD", "LP29708-2", "LP7839-6", "LP29684-5"],
            ),
            (
                STATUS,
                &[
                    "registered",
                    "partial",
                    "preliminary",
                    "final",
                    "amended",
                    "corrected",
                    "appended",
                    "cancelled",
                    "entered-in-error",
                    "unknown",
                ],
            ),
        ],
        "DocumentReference" => &[
            (STATUS, &["current", "superseded", "entered-in-error"]),
            (CATEGORY, &["clinical-note"]),
        ],
        "Encounter" => &[(
            STATUS,
            &[
                "planned",
                "arrived",
                "triaged",
                "in-progress",
                "onleave",
                "finished",
                "cancelled",
                "entered-in-error",
                "unknown",
            ],
        )],
        "Goal" => &[(
            "lifecycle-status",
            &[
                "proposed",
                "planned",
                "accepted",
                "active",
                "on-hold",
                "completed",
                "cancelled",
                "entered-in-error",
                "rejected",
            ],
        )],
        "Immunization" => &[(STATUS, &["completed", "entered-in-error", "not-done"])],
        "MedicationRequest" => &[
            REQUEST_INTENT,
            (
                STATUS,
                &[
                    "active",
                    "on-hold",
                    "cancelled",
                    "completed",
                    "entered-in-error",
                    "stopped",
                    "draft",
                    "unknown",
                ],
            ),
        ],
        "Procedure" => &[EVENT_STATUS],
        "ServiceRequest" => &[REQUEST_STATUS, REQUEST_INTENT],
        _ => &[],
    }
}

/// How to ask for a type value by value, given what a refusal said: by what it
/// names, else by what most servers want. What was `tried` is not tried again.
#[must_use]
pub fn fan_out(resource_type: &str, said: &Said, tried: &[String]) -> Option<FanOut> {
    let named = match said.demand {
        Some(Demand::Category) => CATEGORY,
        Some(Demand::Intent) => INTENT,
        Some(Demand::Status) => STATUS,
        Some(Demand::Other) | None => "",
    };
    let untried = || {
        lists(resource_type)
            .iter()
            .filter(|(parameter, _)| !tried.iter().any(|tried| tried == parameter))
    };
    let (parameter, values) = untried()
        .find(|(parameter, _)| *parameter == named)
        .or_else(|| untried().next())?;
    let listed = &said.categories.0;
    // A server that lists its categories knows no others.
    let values = if resource_type == "CarePlan" && *parameter == CATEGORY && !listed.is_empty() {
        listed.clone()
    } else {
        values.iter().map(|&value| value.to_owned()).collect()
    };
    Some(FanOut {
        parameter: (*parameter).to_owned(),
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::Categories;

    fn said(demand: Option<Demand>, categories: &[&str]) -> Said {
        Said {
            demand,
            categories: Categories(categories.iter().map(|&code| code.to_owned()).collect()),
            ..Said::default()
        }
    }

    #[test]
    fn the_named_parameter_comes_first_and_none_twice() {
        let parameter = |resource_type: &str, demand, tried: &[&str]| {
            let tried: Vec<String> = tried.iter().map(|&name| name.to_owned()).collect();
            fan_out(resource_type, &said(demand, &[]), &tried).map(|found| found.parameter)
        };
        let other = Some(Demand::Other);
        assert_eq!(
            parameter("Observation", other, &[]).as_deref(),
            Some("category")
        );
        assert_eq!(
            parameter("Observation", Some(Demand::Status), &[]).as_deref(),
            Some("status")
        );
        assert_eq!(
            parameter("Observation", other, &["category"]).as_deref(),
            Some("status")
        );
        assert_eq!(
            parameter("Observation", other, &["category", "status"]),
            None
        );
        assert_eq!(
            parameter("MedicationRequest", Some(Demand::Category), &[]).as_deref(),
            Some("intent")
        );
        assert_eq!(parameter("RelatedPerson", other, &[]), None);
        assert_eq!(parameter("CareTeam", None, &[]).as_deref(), Some("status"));
    }

    #[test]
    fn care_plans_are_asked_for_by_the_categories_that_the_server_lists() {
        let listed = said(Some(Demand::Other), &["736353004"]);
        let found = fan_out("CarePlan", &listed, &[]).unwrap();
        assert_eq!(found.values, ["736353004"]);
        assert!(!FanOut::is_known("CarePlan", "category", "736353004"));
        let found = fan_out("CarePlan", &said(None, &[]), &[]).unwrap();
        assert!(found.values.contains(&"38717003".to_owned()));
        assert!(FanOut::is_known("CarePlan", "category", "38717003"));
        // Other types have categories of their own.
        let found = fan_out("Observation", &listed, &[]).unwrap();
        assert!(found.values.contains(&"laboratory".to_owned()) && found.is_lossy());
    }
}

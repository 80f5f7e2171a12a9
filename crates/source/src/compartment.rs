//! What to ask a source for: the R4 patient compartment, cut to what
//! the source declares.
//!
//! One search per type. A source that demands more than the patient (a category,
//! an intent) refuses the plain search; the fan-out that answers it
//! belongs here.

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, TypeCapability};

/// Types outside the compartment that its resources refer to, read one by one
/// after the searches.
pub const CLOSURE_TYPES: &[&str] = &[
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Medication",
];

/// How one resource type of a patient is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlan {
    /// The type.
    pub resource_type: String,
    /// How it is reached.
    pub access: Access,
}

/// How a type is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// By reading the patient's own id: never `Patient?patient=`.
    Read,
    /// By a search.
    Search {
        /// The parameter that takes the patient.
        parameter: String,
    },
}

/// The parameters that make a type part of the compartment, in the order of the
/// specification. `patient` is asked for before these where the source has it.
#[rustfmt::skip]
const COMPARTMENT: &[(&str, &[&str])] = &[
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["patient"]),
    ("Basic", &["patient", "author"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["patient", "performer"]),
    ("CareTeam", &["patient", "participant"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester"]),
    ("Condition", &["patient", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["policy-holder", "subscriber", "beneficiary", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["patient"]),
    ("EnrollmentRequest", &["subject"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["patient"]),
    ("Goal", &["patient"]),
    ("Group", &["member"]),
    ("ImagingStudy", &["patient"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "patient", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["patient"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["patient", "performer", "subject"]),
    ("MedicationDispense", &["subject", "patient", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Person", &["patient"]),
    ("Procedure", &["patient", "performer"]),
    ("Provenance", &["patient"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["subject"]),
    ("VisionPrescription", &["patient"]),
];

/// Types outside the compartment that are asked for where the source declares
/// that they can be searched by `patient`.
const BESIDE: &[&str] = &["Device", "Task"];

/// Types of the compartment for which R4 defines no `patient` parameter.
const WITHOUT_PATIENT: &[&str] = &["AdverseEvent", "Group", "Schedule", "SupplyRequest"];

/// The plan for any patient of a source: the patient first, by read, then every
/// type of the compartment that the source declares, in the order of the alphabet.
/// A source that declares no types at all is asked for all of them.
pub(crate) fn plan(capabilities: &Capabilities) -> Vec<StreamPlan> {
    let undeclared = TypeCapability {
        searchable: true,
        ..TypeCapability::default()
    };
    let search = |resource_type: &str, parameter: &str| StreamPlan {
        resource_type: resource_type.to_owned(),
        access: Access::Search {
            parameter: parameter.to_owned(),
        },
    };
    let mut plan: Vec<StreamPlan> = COMPARTMENT
        .iter()
        .filter_map(|(resource_type, members)| {
            let declared = match capabilities.types.get(*resource_type) {
                None if capabilities.types.is_empty() => &undeclared,
                declared => declared?,
            };
            declared
                .searchable
                .then(|| search(resource_type, parameter(resource_type, members, declared)))
        })
        .collect();
    plan.extend(BESIDE.iter().filter_map(|resource_type| {
        let declared = capabilities.types.get(*resource_type)?;
        (declared.searchable && declared.search_params.contains("patient"))
            .then(|| search(resource_type, "patient"))
    }));
    plan.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
    plan.insert(
        0,
        StreamPlan {
            resource_type: "Patient".to_owned(),
            access: Access::Read,
        },
    );
    plan
}

fn parameter<'a>(resource_type: &str, members: &[&'a str], declared: &TypeCapability) -> &'a str {
    let says = |name: &str| declared.search_params.contains(name);
    let first = members.first().copied().unwrap_or("patient");
    if says("patient") {
        "patient"
    } else if declared.search_params.is_empty() {
        if WITHOUT_PATIENT.contains(&resource_type) {
            first
        } else {
            "patient"
        }
    } else {
        // Declarations lie: where none of the parameters is named, the first is
        // tried, and a refusal costs one request.
        members
            .iter()
            .copied()
            .find(|member| says(member))
            .unwrap_or(first)
    }
}

/// Whether a plan could ask for this type by this parameter.
pub(crate) fn is_parameter(resource_type: &str, parameter: &str) -> bool {
    let members = COMPARTMENT
        .iter()
        .find(|(name, _)| *name == resource_type)
        .map(|(_, members)| *members);
    match members {
        Some(members) => parameter == "patient" || members.contains(&parameter),
        None => parameter == "patient" && BESIDE.contains(&resource_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(types: &[(&str, &[&str])]) -> Capabilities {
        let types = types.iter().map(|(name, params)| {
            let search_params = params.iter().map(|&param| param.to_owned()).collect();
            (
                (*name).to_owned(),
                TypeCapability {
                    searchable: true,
                    search_params,
                },
            )
        });
        Capabilities {
            fhir_version: "4.0.1".to_owned(),
            types: types.collect(),
        }
    }

    fn shown(plan: &[StreamPlan]) -> Vec<String> {
        plan.iter()
            .map(|stream| match &stream.access {
                Access::Read => format!("{}/", stream.resource_type),
                Access::Search { parameter } => format!("{}?{parameter}", stream.resource_type),
            })
            .collect()
    }

    #[test]
    fn the_plan_is_what_is_declared_of_the_compartment() {
        let plan = plan(&capabilities(&[
            ("Task", &["owner"]),
            ("Device", &["patient"]),
            ("Practitioner", &["name"]),
            ("Patient", &["_id"]),
            ("Observation", &["code", "subject", "patient"]),
            ("Condition", &["asserter"]),
            ("Coverage", &["beneficiary"]),
            ("Schedule", &[]),
            ("Goal", &[]),
            ("Encounter", &["date"]),
            ("Binary", &[]),
        ]));
        assert_eq!(
            shown(&plan),
            [
                "Patient/",
                "Condition?asserter",
                "Coverage?beneficiary",
                "Device?patient",
                "Encounter?patient",
                "Goal?patient",
                "Observation?patient",
                "Schedule?actor",
            ]
        );
        assert!(plan.iter().all(|stream| match &stream.access {
            Access::Read => true,
            Access::Search { parameter } => is_parameter(&stream.resource_type, parameter),
        }));
    }

    #[test]
    fn a_source_that_declares_nothing_is_asked_for_everything() {
        let plan = shown(&plan(&Capabilities::default()));
        assert_eq!(plan.len(), COMPARTMENT.len() + 1);
        assert!(
            plan.contains(&"Observation?patient".to_owned())
                && plan.contains(&"AdverseEvent?subject".to_owned())
        );
    }

    #[test]
    fn a_type_that_cannot_be_searched_is_left_out() {
        let mut capabilities = capabilities(&[("Goal", &["patient"])]);
        capabilities
            .types
            .entry("Goal".to_owned())
            .or_default()
            .searchable = false;
        assert_eq!(shown(&plan(&capabilities)), ["Patient/"]);
    }

    #[test]
    fn the_table_is_sorted_and_each_type_stands_in_it_once() {
        assert!(COMPARTMENT.is_sorted_by(|a, b| a.0 < b.0));
        assert!(COMPARTMENT.iter().all(|(_, members)| !members.is_empty()));
    }
}

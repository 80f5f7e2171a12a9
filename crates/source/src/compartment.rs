//! What to ask a source for: the R4 patient compartment, cut to what
//! the source declares, the grant reaches and the operator wants.
//!
//! One search per type. A source that demands more than the patient (a category,
//! an intent) refuses the plain search and is asked value by value (`fan_out.rs`).

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, TypeCapability};
use crate::fan_out::FanOut;
use crate::scopes::Scopes;

/// Types that resources refer to and searches may not give, read one by one after
/// these. Observations beside: where a report or another observation names them.
pub const CLOSURE_TYPES: &[&str] = &[
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Medication",
    "Specimen",
    "Questionnaire",
];

/// How one resource type of a patient is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlan {
    /// The type.
    pub resource_type: String,
    /// How it is reached.
    pub access: Access,
    /// The values it is asked for one by one; none: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<FanOut>,
    /// Whether `_count` is left out, which the source does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_count: bool,
}

impl StreamPlan {
    /// The plan to ask for a type in the plainest way.
    #[must_use]
    pub fn new(resource_type: &str, access: Access) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            access,
            fan_out: None,
            without_count: false,
        }
    }

    /// How many searches it takes.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.fan_out
            .as_ref()
            .map_or(1, |fan_out| fan_out.values.len())
    }
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
    /// By `$everything`, which gives all types at once.
    Everything,
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

/// Types outside the compartment that are asked for where the source does not
/// declare parameters of theirs without `patient`.
const BESIDE: &[&str] = &["Device", "Task"];

/// Types of the compartment for which R4 defines no `patient` parameter.
const WITHOUT_PATIENT: &[&str] = &["AdverseEvent", "Group", "Schedule", "SupplyRequest"];

/// Whether a type is a part of the R4 patient compartment.
#[must_use]
pub fn is_in_compartment(resource_type: &str) -> bool {
    resource_type == "Patient"
        || COMPARTMENT
            .binary_search_by_key(&resource_type, |(name, _)| name)
            .is_ok()
}

/// Whether a type is asked for by patient: of the compartment, or beside it.
#[must_use]
pub fn is_asked_by_patient(resource_type: &str) -> bool {
    is_in_compartment(resource_type) || BESIDE.contains(&resource_type)
}

/// What bounds the types that are asked for, beside what the source declares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The scopes that were granted, as the token endpoint names them; none: not
    /// known.
    pub scopes: Option<&'a str>,
    /// The types the operator wants; none: all.
    pub types: Option<&'a [String]>,
}

/// The plan for any patient of a source: the patient first, by read, then every
/// type of the compartment, and of those beside it, that the source declares, the
/// grant reaches and the operator wants, in the order of the alphabet. A source that
/// declares no types at all is asked for all of them.
pub(crate) fn plan(capabilities: &Capabilities, wanted: Wanted<'_>) -> Vec<StreamPlan> {
    let undeclared = TypeCapability {
        searchable: true,
        ..TypeCapability::default()
    };
    let scopes = wanted.scopes.and_then(Scopes::parse);
    let is_wanted = |name: &str| {
        scopes.as_ref().is_none_or(|scopes| scopes.reaches(name))
            && wanted
                .types
                .is_none_or(|types| types.iter().any(|wanted| wanted == name))
    };
    let search = |name: &str, parameter: &str| StreamPlan {
        fan_out: scopes
            .as_ref()
            .and_then(|scopes| scopes.values(name))
            .cloned(),
        ..StreamPlan::new(
            name,
            Access::Search {
                parameter: parameter.to_owned(),
            },
        )
    };
    let declared = |name: &str| match capabilities.types.get(name) {
        None if capabilities.types.is_empty() => Some(&undeclared),
        declared => declared.filter(|declared| declared.searchable),
    };
    let mut plan: Vec<StreamPlan> = COMPARTMENT
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .filter_map(|(name, members)| Some(search(name, parameter(name, members, declared(name)?))))
        .collect();
    plan.extend(
        BESIDE
            .iter()
            .filter(|name| is_wanted(name))
            .filter(|name| {
                declared(name).is_some_and(|declared| {
                    declared.search_params.is_empty() || declared.search_params.contains("patient")
                })
            })
            .map(|name| search(name, "patient")),
    );
    plan.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
    plan.insert(0, StreamPlan::new("Patient", Access::Read));
    plan
}

/// The types that only the grant keeps out of the plan. A source that declares none at
/// all may not have them either.
pub(crate) fn not_granted(capabilities: &Capabilities, wanted: Wanted<'_>) -> Vec<String> {
    if capabilities.types.is_empty() {
        return Vec::new();
    }
    let granted = plan(capabilities, wanted);
    let all = plan(
        capabilities,
        Wanted {
            scopes: None,
            ..wanted
        },
    );
    let is_granted = |name: &str| granted.iter().any(|stream| stream.resource_type == name);
    let names = all.into_iter().map(|stream| stream.resource_type);
    names.filter(|name| !is_granted(name)).collect()
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

#[cfg(test)]
mod tests;

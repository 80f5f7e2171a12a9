//! The values by which each type can be asked for: a table.

/// A parameter and its values.
pub(super) type List = (&'static str, &'static [&'static str]);

pub(super) const CATEGORY: &str = "category";
pub(super) const INTENT: &str = "intent";
pub(super) const STATUS: &str = "status";

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
pub(super) fn lists(resource_type: &str) -> &'static [List] {
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

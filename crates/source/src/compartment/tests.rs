//! What is asked for of which source, and what is not.

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
            Access::Everything => "$everything".to_owned(),
            Access::Read => format!("{}/", stream.resource_type),
            Access::Search { parameter } => format!("{}?{parameter}", stream.resource_type),
        })
        .collect()
}

#[test]
fn what_only_the_grant_keeps_out_is_named() {
    let declared = capabilities(&[("Goal", &["patient"]), ("Flag", &[]), ("Task", &[])]);
    let wanted = |scopes, types| Wanted { scopes, types };
    let scopes = Some("patient/Goal.rs");
    assert_eq!(
        not_granted(&declared, wanted(scopes, None)),
        ["Flag", "Task"]
    );
    let types = ["Goal".to_owned(), "Flag".to_owned()];
    assert_eq!(
        not_granted(&declared, wanted(scopes, Some(&types))),
        ["Flag"]
    );
    for says_nothing in [None, Some("openid"), Some("patient/*.rs")] {
        assert!(not_granted(&declared, wanted(says_nothing, None)).is_empty());
    }
    assert!(not_granted(&Capabilities::default(), wanted(scopes, None)).is_empty());
}

#[test]
fn the_plan_is_what_is_declared_of_the_compartment() {
    let plan = plan(
        &capabilities(&[
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
        ]),
        Wanted::default(),
    );
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
}

#[test]
fn a_source_that_declares_nothing_is_asked_for_everything() {
    let plan = plan(&Capabilities::default(), Wanted::default());
    assert!(
        plan.iter()
            .all(|stream| is_asked_by_patient(&stream.resource_type))
    );
    assert!(!is_in_compartment("Device") && !is_asked_by_patient("Practitioner"));
    let plan = shown(&plan);
    assert_eq!(plan.len(), COMPARTMENT.len() + BESIDE.len() + 1);
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
    assert_eq!(shown(&plan(&capabilities, Wanted::default())), ["Patient/"]);
}

#[test]
fn scopes_and_the_operator_narrow_the_plan() {
    let declared = capabilities(&[
        ("Condition", &["patient"]),
        ("Goal", &["patient"]),
        ("Observation", &["patient"]),
    ]);
    let asked = |scopes, types: Option<&[&str]>| {
        let types: Option<Vec<String>> =
            types.map(|types| types.iter().map(|&name| name.to_owned()).collect());
        let wanted = Wanted {
            scopes,
            types: types.as_deref(),
        };
        shown(&plan(&declared, wanted)).join(" ")
    };
    let all = "Patient/ Condition?patient Goal?patient Observation?patient";
    assert_eq!(asked(None, None), all);
    assert_eq!(asked(Some("patient/*.read"), None), all);
    // A scope string that names no type, and one with types that are not declared.
    assert_eq!(asked(Some("openid launch/patient"), None), all);
    assert_eq!(
        asked(Some("patient/Goal.rs patient/Flag.rs"), None),
        "Patient/ Goal?patient"
    );
    assert_eq!(
        asked(Some("patient/*.rs"), Some(&["Goal"])),
        "Patient/ Goal?patient"
    );
    let wanted = Wanted {
        scopes: Some("patient/Observation.rs?category=laboratory"),
        types: None,
    };
    let granular = plan(&declared, wanted);
    let fan_out = granular[1].fan_out.as_ref().unwrap();
    assert_eq!(fan_out.values, ["laboratory"]);
}

/// A plan in the plainest way is hashed as it was before there were others.
#[test]
fn a_plain_plan_is_written_as_ever() {
    let plan = &plan(&capabilities(&[("Goal", &["patient"])]), Wanted::default())[1];
    assert_eq!(
        serde_json::to_string(plan).unwrap(),
        r#"{"resource_type":"Goal","access":{"search":{"parameter":"patient"}}}"#
    );
}

#[test]
fn the_table_is_sorted_and_each_type_stands_in_it_once() {
    assert!(COMPARTMENT.is_sorted_by(|a, b| a.0 < b.0));
    assert!(COMPARTMENT.iter().all(|(_, members)| !members.is_empty()));
}

//! Query plans: what portals demand beside the patient, and which types are asked for.

use db::SourceChange;
use sandbox::{Body, Demand, Knobs};

use super::scene::{PATIENT, Scene, answer, observation, resource};

fn demand(parameter: &str, values: &[&str], status: u16, code: &str, text: &str) -> Demand {
    Demand {
        parameter: parameter.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        status,
        code: code.to_owned(),
        text: text.to_owned(),
    }
}

fn demanding(resource_type: &str, demand: Demand) -> Knobs {
    Knobs {
        demands: [(resource_type.to_owned(), demand)].into(),
        ..Knobs::default()
    }
}

fn category(code: &str) -> String {
    format!(r#","category":[{{"coding":[{{"code":"{code}"}}]}}]"#)
}

/// Epic: 400 `required` "Must have either code or category"; a category that is not
/// granted is refused with `invalid` and costs itself alone.
#[tokio::test]
async fn observations_by_category_as_at_epic() {
    let mut resources = Vec::new();
    for (number, code) in ["vital-signs", "laboratory", "exam", "laboratory"]
        .iter()
        .enumerate()
    {
        resources.push(observation(&format!("o-{number}"), &category(code)));
    }
    // Found by two categories, and by none.
    resources.push(observation(
        "twice",
        r#","category":[{"coding":[{"code":"laboratory"},{"code":"vital-signs"}]}]"#,
    ));
    resources.push(observation("uncategorised", ""));
    let scene = Scene::new(&resources).await;
    let granted = ["vital-signs", "laboratory"];
    scene.knobs(demanding(
        "Observation",
        demand(
            "category",
            &granted,
            400,
            "required",
            "59108: Must have either code or category.",
        ),
    ));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        pulled.end("Observation"),
        ("suppressed", Some("values_refused"))
    );
    assert_eq!(
        pulled.notes("Observation"),
        [
            ("fanned_out", 13),
            ("uncategorised_unseen", 0),
            ("values_refused", 11)
        ]
    );
    let counts = pulled.types["Observation"].counts;
    assert_eq!((counts.new, counts.repeated, counts.fetched), (4, 1, 5));
    assert!(counts.is_true() && pulled.pull.counts.is_true());
    assert_eq!(pulled.pull.state, model::RunState::Partial);

    // The next pull knows how to ask, and asks for everything again.
    let again = scene.pull().await;
    assert_eq!(
        again.asked(&format!("Observation?patient={PATIENT}&_count")),
        0
    );
    assert_eq!(again.asked("Observation?"), 13);
    assert_eq!(again.types["Observation"].counts.unchanged, 4);
    // The source answers plainly again: nothing is lost, and the lesson is forgotten.
    scene.knobs(Knobs {
        demands: [(
            "Observation".to_owned(),
            demand("code", &["none"], 400, "invalid", "no"),
        )]
        .into(),
        ..Knobs::default()
    });
    let refused = scene.pull().await;
    assert_eq!(refused.end("Observation"), ("refused", Some("refused")));
    scene.knobs(Knobs::default());
    let plain = scene.pull().await;
    assert_eq!(plain.types["Observation"].counts.new, 2);
}

/// Epic: 400 `business-rule`, which lists SNOMED codes of categories.
#[tokio::test]
async fn care_plans_by_the_categories_that_epic_lists() {
    let resources = [
        resource("CarePlan", "a", &category("736353004")),
        resource("CarePlan", "b", &category("38717003")),
    ];
    let scene = Scene::new(&resources).await;
    scene.knobs(demanding(
        "CarePlan",
        demand(
            "category",
            &["736353004", "38717003"],
            400,
            "business-rule",
            "59159: use 736353004 or 38717003",
        ),
    ));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("CarePlan"), ("complete", None));
    assert_eq!(pulled.asked("CarePlan?"), 3);
    assert_eq!(scene.pull().await.asked("CarePlan?"), 2);
}

/// athena: 403 `forbidden` "required parameter combinations [[patient,intent],[_id]]".
#[tokio::test]
async fn medication_requests_by_intent_as_at_athena() {
    let resources = [
        resource("MedicationRequest", "a", r#","intent":"order""#),
        resource("MedicationRequest", "b", r#","intent":"plan""#),
    ];
    let scene = Scene::new(&resources).await;
    scene.knobs(demanding(
        "MedicationRequest",
        demand(
            "intent",
            &[],
            403,
            "forbidden",
            "required parameter combinations [[patient,intent],[_id]]",
        ),
    ));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("MedicationRequest"), ("complete", None));
    assert_eq!(pulled.notes("MedicationRequest"), [("fanned_out", 8)]);
}

/// NextGen: 404 "Valid care plan category not present in search".
#[tokio::test]
async fn care_plans_behind_a_404_as_at_nextgen() {
    let scene = Scene::new(&[resource("CarePlan", "a", &category("assess-plan"))]).await;
    scene.knobs(demanding(
        "CarePlan",
        demand(
            "category",
            &[],
            404,
            "not-found",
            "Valid care plan category not present in search",
        ),
    ));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("CarePlan"), ("complete", None));
}

/// DrChrono: 500 for a search parameter that it does not support.
#[tokio::test]
async fn a_500_that_names_a_parameter_is_a_refusal_as_at_drchrono() {
    let scene = Scene::new(&[resource("CareTeam", "a", r#","status":"active""#)]).await;
    scene.knobs(demanding(
        "CareTeam",
        demand("status", &[], 500, "exception", "A status is needed."),
    ));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("CareTeam"), ("complete", None));
}

/// eClinicalWorks: 400 that blames `_count`.
#[tokio::test]
async fn a_server_that_does_not_know_count_as_eclinicalworks() {
    let scene = Scene::new(&[resource("CareTeam", "a", "")]).await;
    scene.knobs(Knobs {
        refuses_count: ["CareTeam".to_owned()].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("CareTeam"), ("complete", None));
    assert_eq!(pulled.asked("CareTeam?"), 2);
    assert_eq!(scene.pull().await.asked("CareTeam?"), 1);
}

/// Epic: an unsupported type is a page for people with 404.
#[tokio::test]
async fn a_type_that_is_not_there_costs_three_requests_at_most() {
    let resources = [observation("a", ""), resource("Condition", "c", "")];
    let scene = Scene::new(&resources).await;
    scene.knobs(Knobs {
        answers: [("Observation".to_owned(), answer(404, Body::Html))].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("Observation"), ("refused", Some("refused")));
    assert_eq!(pulled.asked("Observation?"), 3);
    assert_eq!(pulled.end("Condition"), ("complete", None));
}

/// Types are those that the source has and the operator wants.
#[tokio::test]
async fn the_operator_chooses_the_types() {
    let resources = [observation("o", ""), resource("Condition", "c", "")];
    let scene = Scene::new(&resources).await;
    scene.pull().await;
    let db = &scene.context.db;
    let source = db
        .connection_summary(scene.connection)
        .await
        .unwrap()
        .source_id;
    let wanted = ["Condition".to_owned()];
    let change = |types| SourceChange {
        types: Some(types),
        ..SourceChange::default()
    };
    let only = change(Some(wanted.as_slice()));
    db.change_source(source, only).await.unwrap();
    let pulled = scene.pull().await;
    assert_eq!(pulled.asked("Observation?"), 0);
    assert_eq!(pulled.end("Condition"), ("complete", None));
    // What came before stays.
    assert_eq!(scene.latest().await.len(), 3);
    db.change_source(source, change(None)).await.unwrap();
    assert_eq!(scene.pull().await.asked("Observation?"), 1);
}

/// What the source has and the grant does not reach is named, and costs no request.
#[tokio::test]
async fn types_beyond_the_grant_are_named() {
    let result = r#","result":[{"reference":"Observation/o"}]"#;
    let resources = [
        observation("o", ""),
        resource("Condition", "c", ""),
        resource("Goal", "g", ""),
        resource("DiagnosticReport", "r", result),
    ];
    let scope = "patient/Patient.rs patient/Condition.rs patient/DiagnosticReport.rs";
    let scene = Scene::with_scope(&resources, scope).await;
    let pulled = scene.pull().await;
    assert_eq!(pulled.end("Condition"), ("complete", None));
    assert_eq!(pulled.end("Goal"), ("not_granted", None));
    assert_eq!(pulled.asked("Goal?"), 0);
    // One that a report refers to was read: that is not the whole type.
    assert_eq!(pulled.end("Observation"), ("not_granted", None));
    assert_eq!(pulled.types["Observation"].counts.new, 1);
    assert_eq!(pulled.pull.state, model::RunState::Completed);
}

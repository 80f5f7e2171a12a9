//! References: what lies beyond the searches is read one by one, a few steps far, and
//! what they do not lead to is left for a while.

use sandbox::Knobs;

use super::scene::{Pulled, Scene, observation, resource};

/// References are followed a few steps far, dangling ones are asked for once.
#[tokio::test]
async fn references_are_followed_a_few_steps_far() {
    let shared = |resource_type: &str, id: &str, reference: &str| {
        format!(
            r#"{{"resourceType":"{resource_type}","id":"{id}","x":{{"reference":"{reference}"}}}}"#
        )
    };
    let resources = [
        resource(
            "Encounter",
            "e",
            r#","location":[{"location":{"reference":"Location/1"}}]"#,
        ),
        shared("Location", "1", "Organization/2"),
        shared("Organization", "2", "Organization/3"),
        shared("Organization", "3", "Organization/4"),
        shared("Organization", "4", "Organization/5"),
        resource(
            "DiagnosticReport",
            "r",
            r#","result":[{"reference":"Observation/panel"},{"reference":"Observation/dangling"}],"specimen":[{"reference":"Specimen/s"}]"#,
        ),
        observation(
            "panel",
            r#","hasMember":[{"reference":"Observation/member"}]"#,
        ),
        observation("member", ""),
        r#"{"resourceType":"Specimen","id":"s"}"#.to_owned(),
        resource(
            "QuestionnaireResponse",
            "q",
            r#","questionnaire":"Questionnaire/form|1.0""#,
        ),
        r#"{"resourceType":"Questionnaire","id":"form"}"#.to_owned(),
    ];
    let scene = Scene::new(&resources).await;
    scene.knobs(Knobs {
        hidden_from_search: ["Observation/panel", "Observation/member"]
            .map(str::to_owned)
            .into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    let latest = scene.latest().await;
    let has = |name: &str, id: &str| latest.contains_key(&(name.to_owned(), id.to_owned()));
    assert!(has("Organization", "3") && !has("Organization", "4"));
    assert!(has("Observation", "member") && has("Questionnaire", "form"));
    assert_eq!(pulled.asked("Observation/dangling"), 1);
    assert_eq!(pulled.end("Organization"), ("complete", None));
    // What is reached by reference alone does not look deleted.
    let again = scene.pull().await;
    assert_eq!(again.pull.counts.deleted, 0);
    assert_eq!(again.pull.state, model::RunState::Completed);
}

/// A reference that leads nowhere costs one request a week, unless what refers to it
/// changes.
#[tokio::test]
async fn what_references_do_not_lead_to_is_not_asked_for_again_so_soon() {
    let performer = r#","performer":[{"reference":"Practitioner/nowhere"}]"#;
    let scene = Scene::new(&[resource("DiagnosticReport", "r", performer)]).await;
    let at_nowhere = |pulled: &Pulled| pulled.asked("Practitioner/nowhere");
    assert_eq!(at_nowhere(&scene.pull().await), 1);
    let unchanged = scene.pull().await;
    assert_eq!(unchanged.types["DiagnosticReport"].counts.unchanged, 1);
    assert_eq!(at_nowhere(&unchanged), 0);
    assert_eq!(at_nowhere(&scene.full_pull().await), 1);
    let changed = resource("DiagnosticReport", "r", &format!(r#","x":1{performer}"#));
    scene.portal().put(&changed);
    assert_eq!(at_nowhere(&scene.pull().await), 1);
    assert_eq!(at_nowhere(&scene.pull().await), 0);
    // One that was gone and is there again is new.
    scene.portal().remove("DiagnosticReport", "r");
    assert_eq!(scene.full_pull().await.pull.counts.deleted, 1);
    scene.portal().put(&changed);
    assert_eq!(at_nowhere(&scene.pull().await), 1);
    // Another grant may show more.
    let nowhere = r#"{"resourceType":"Practitioner","id":"nowhere"}"#;
    scene.portal().put(nowhere);
    let reconnected = scene.db().reconnect(scene.connection, None, None);
    reconnected.await.unwrap();
    assert_eq!(at_nowhere(&scene.pull().await), 1);
    scene.assert_whole().await;
}

/// A type whose reads are not granted is asked for a few times, not thousands.
#[tokio::test]
async fn reads_that_are_not_granted_end_soon() {
    let resources: Vec<String> = (0..30)
        .map(|n| {
            let performer = format!(r#","performer":[{{"reference":"Practitioner/{n}"}}]"#);
            observation(&format!("o-{n}"), &performer)
        })
        .collect();
    let scene = Scene::new(&resources).await;
    scene.knobs(Knobs {
        status_for_type: [("Practitioner".to_owned(), 403)].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    let asked = pulled.asked("Practitioner/");
    assert!((5..12).contains(&asked), "{asked}");
    assert_eq!(
        pulled.types["Practitioner"].error_code.as_deref(),
        Some("reads_refused")
    );
}

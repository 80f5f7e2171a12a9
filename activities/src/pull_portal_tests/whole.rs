//! When everything is asked for, although the source could say what has changed; and
//! that nothing but that shows what is gone.

use std::time::Duration;

use sandbox::{Body, Demand, Knobs};

use super::scene::{PATIENT, answer};
use super::updates::{counts, portal, put};

#[tokio::test]
async fn a_delete_is_found_by_the_next_full_pull_and_by_no_other() {
    let scene = portal().await;
    scene.portal().remove("Observation", "o-24");
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(counts(&pulled), [0, 0, 0, 0]);
    assert_eq!(pulled.asked("Observation/"), 0);
    let beyond = scene.beyond_whole().await;
    assert_eq!(beyond, [("Observation".to_owned(), "o-24".to_owned())]);
    let whole = scene.full_pull().await;
    assert!(whole.pull.full);
    assert_eq!(whole.mode("Observation"), Some("full"));
    assert_eq!(counts(&whole), [0, 0, 24, 1]);
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_type_is_asked_for_whole_again_after_some_days() {
    let mut scene = portal().await;
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(scene.context.limits.full_pull_after, week);
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
    // As if they had passed.
    scene.context.limits.full_pull_after = Duration::ZERO;
    assert_eq!(scene.pull().await.mode("Observation"), Some("full"));
    scene.context.limits.full_pull_after = week;
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

#[tokio::test]
async fn another_plan_asks_for_everything() {
    let scene = portal().await;
    let demand = Demand {
        parameter: "status".to_owned(),
        values: Vec::new(),
        status: 400,
        code: "required".to_owned(),
        text: "A status is required.".to_owned(),
    };
    let demands = [("Observation".to_owned(), demand)].into();
    scene.knobs(Knobs {
        demands,
        ..Knobs::default()
    });
    put(&scene, "o-03", 300, 2);
    // None of them has a status: by value nothing is found, and nothing is gone.
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(pulled.notes("Observation")[0].0, "fanned_out");
    assert_eq!(counts(&pulled), [0, 0, 0, 0]);
    // Asked plainly again, which is another way than the last time.
    scene.knobs(Knobs::default());
    let db = &scene.context.db;
    let source = db.connection_summary(scene.connection).await.unwrap();
    db.forget_source_plan(source.source_id, "Observation")
        .await
        .unwrap();
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(counts(&pulled), [0, 1, 24, 0]);
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

#[tokio::test]
async fn a_type_that_was_not_complete_is_asked_for_whole() {
    let scene = portal().await;
    scene.knobs(Knobs {
        answers: [("Observation".to_owned(), answer(502, Body::Html))].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(pulled.end("Observation").0, "gave_up");
    scene.knobs(Knobs::default());
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

/// What a resource refers to and could not be read is referred to again only where
/// everything is asked for.
#[tokio::test]
async fn references_that_could_not_be_read_ask_for_everything() {
    let scene = portal().await;
    scene.knobs(Knobs {
        answers: [("Practitioner".to_owned(), answer(502, Body::Html))].into(),
        ..Knobs::default()
    });
    put(&scene, "o-03", 0, 2);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(pulled.end("Practitioner").0, "gave_up");
    scene.knobs(Knobs::default());
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_new_grant_asks_for_everything() {
    let scene = portal().await;
    let db = &scene.context.db;
    db.reconnect(scene.connection, Some("token"), None)
        .await
        .unwrap();
    assert_eq!(scene.pull().await.mode("Observation"), Some("full"));
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

/// A merge with another patient brings a history that no search for changes finds.
#[tokio::test]
async fn a_changed_patient_asks_for_everything() {
    let scene = portal().await;
    scene.portal().put(&format!(
        r#"{{"resourceType":"Patient","id":"{PATIENT}","link":[{{"other":{{"reference":"Patient/other"}},"type":"replaces"}}]}}"#
    ));
    put(&scene, "merged", 3_000, 1);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(pulled.types["Patient"].counts.changed, 1);
    let whole = scene.pull().await;
    assert_eq!(whole.mode("Observation"), Some("full"));
    assert_eq!(counts(&whole), [1, 0, 25, 0]);
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

/// Deletions that wait for a decision are looked at by each pull, as ever.
#[tokio::test]
async fn types_with_held_deletions_are_asked_for_whole() {
    let scene = portal().await;
    for n in 0..12 {
        scene.portal().remove("Observation", &format!("o-{n:02}"));
    }
    let first = scene.full_pull().await;
    assert_eq!(first.pull.error_code.as_deref(), Some("deletes_held"));
    let second = scene.pull().await;
    assert_eq!(second.mode("Observation"), Some("full"));
    assert_eq!(second.pull.error_code.as_deref(), Some("deletes_held"));
    let db = &scene.context.db;
    db.discard_deletes(second.pull.id).await.unwrap();
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

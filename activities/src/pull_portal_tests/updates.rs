//! Pulls of what has changed: what sources answer to that, and what their clocks do,
//! one test for each fact.

use std::time::Duration;

use model::{Timestamp, fhir_instant};
use sandbox::{Body, Knobs};

use super::scene::{Pulled, Scene, answer, stamped};

const MINUTE: Duration = Duration::from_secs(60);

/// A time so many minutes before now by the portal's clock.
pub(super) fn ago(scene: &Scene, minutes: u32) -> String {
    let now = fhir_instant(&scene.portal().now()).unwrap();
    now.before(MINUTE * minutes).to_string()
}

fn of_observations() -> [String; 1] {
    ["Observation".to_owned()]
}

pub(super) fn put(scene: &Scene, id: &str, minutes_ago: u32, value: u32) {
    let rest = format!(r#","valueInteger":{value},"performer":[{{"reference":"Practitioner/1"}}]"#);
    let at = ago(scene, minutes_ago);
    scene.portal().put(&stamped("Observation", id, &at, &rest));
}

/// A portal with 25 observations, in pages of ten, which changed one after the other:
/// the newest two hours ago. Pulled once, whole.
pub(super) async fn portal_with(knobs: Knobs) -> Scene {
    let practitioner = r#"{"resourceType":"Practitioner","id":"1"}"#.to_owned();
    let scene = Scene::new(&[practitioner]).await;
    scene.knobs(knobs);
    for n in 0..25 {
        put(&scene, &format!("o-{n:02}"), 600 - 20 * n, 1);
    }
    let pulled = scene.pull().await;
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(pulled.mode("Observation"), Some("full"));
    scene
}

pub(super) async fn portal() -> Scene {
    portal_with(Knobs::default()).await
}

/// The counts of the observations: new, changed, unchanged, deleted.
pub(super) fn counts(pulled: &Pulled) -> [u64; 4] {
    assert!(pulled.pull.counts.is_true(), "{pulled:?}");
    let counts = pulled.types["Observation"].counts;
    [counts.new, counts.changed, counts.unchanged, counts.deleted]
}

#[tokio::test]
async fn what_has_changed_is_found_with_few_requests() {
    let scene = portal().await;
    put(&scene, "o-03", 0, 2);
    put(&scene, "new", 0, 1);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    // The newest that was known comes again: the search goes back behind it.
    assert_eq!(counts(&pulled), [1, 1, 1, 0]);
    assert_eq!(pulled.asked("Observation?"), 1);
    assert_eq!(pulled.asked("/fhir?"), 0);
    // The patient is read, and what the changed resources refer to.
    assert_eq!(pulled.asked("Patient/"), 1);
    assert_eq!(pulled.mode("Patient"), Some("full"));
    assert_eq!(pulled.asked("Practitioner/"), 1);
    assert_eq!(pulled.mode("Practitioner"), None);
    scene.assert_whole().await;
    // Nothing more: the newest alone comes again.
    let again = scene.pull().await;
    assert_eq!(again.pull.batch_seq, None);
    assert_eq!(counts(&again), [0, 0, 2, 0]);
}

/// Cerner wants `ge` and a time; `+` would be a space.
#[tokio::test]
async fn changes_are_asked_for_by_the_sources_clock_less_the_overlap() {
    for ahead in [0, 86_400, -86_400] {
        let knobs = Knobs {
            clock_ahead_s: ahead,
            ..Knobs::default()
        };
        let scene = portal_with(knobs).await;
        let newest = fhir_instant(&ago(&scene, 120)).unwrap();
        put(&scene, "o-03", 0, 2);
        let pulled = scene.pull().await;
        assert_eq!(counts(&pulled), [0, 1, 1, 0], "{ahead}");
        let asked = |path: &&String| path.starts_with("Observation?");
        let path = pulled.asked.iter().find(asked).unwrap();
        let since = path.split("_lastUpdated=ge").nth(1).unwrap();
        let since = since.split('&').next().unwrap().replace("%3A", ":");
        assert!(since.ends_with('Z') && since.len() == 20, "{since}");
        let since = fhir_instant(&since).unwrap();
        let overlap = newest.since(since);
        assert!((10 * MINUTE..11 * MINUTE).contains(&overlap), "{overlap:?}");
        scene.assert_whole().await;
    }
}

/// Some servers ignore the parameter, give everything, and do not say that they have
/// used it.
#[tokio::test]
async fn a_source_that_does_not_echo_the_parameter_is_asked_for_everything() {
    let scene = portal().await;
    let knobs = Knobs {
        ignores_last_updated: of_observations().into(),
        hides_last_updated: of_observations().into(),
        ..Knobs::default()
    };
    scene.knobs(knobs.clone());
    put(&scene, "o-03", 300, 2);
    scene.portal().remove("Observation", "o-05");
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(pulled.notes("Observation"), [("unfiltered", 0)]);
    assert_eq!(counts(&pulled), [0, 1, 23, 1]);
    assert_eq!(pulled.asked("Observation?"), 2);
    scene.assert_whole().await;
    // That is remembered.
    let again = scene.pull().await;
    assert_eq!(again.mode("Observation"), Some("full"));
    assert!(again.notes("Observation").is_empty());
    assert!(!again.asked.iter().any(|path| path.contains("_lastUpdated")));
}

/// One that says so and does not filter costs time alone: what it does not give is not
/// believed to be gone.
#[tokio::test]
async fn a_source_that_echoes_the_parameter_and_gives_everything_is_believed_half() {
    let scene = portal().await;
    scene.knobs(Knobs {
        ignores_last_updated: of_observations().into(),
        ..Knobs::default()
    });
    scene.portal().remove("Observation", "o-05");
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(counts(&pulled), [0, 0, 24, 0]);
}

#[tokio::test]
async fn a_source_that_refuses_the_parameter_is_asked_without_and_that_is_remembered() {
    let scene = portal().await;
    scene.knobs(Knobs {
        refuses_last_updated: of_observations().into(),
        ..Knobs::default()
    });
    put(&scene, "o-03", 0, 2);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(counts(&pulled), [0, 1, 24, 0]);
    assert_eq!(pulled.asked("Observation?"), 2);
    let again = scene.pull().await;
    assert_eq!(again.asked("Observation?"), 1);
    assert_eq!(again.mode("Observation"), Some("full"));
}

/// DrChrono: 500 with an outcome for a parameter that it does not know.
#[tokio::test]
async fn a_source_that_fails_at_the_parameter_is_asked_without() {
    let scene = portal().await;
    let mut failing = answer(500, Body::Outcome);
    failing.times = Some(3);
    scene.knobs(Knobs {
        answers: [("Observation".to_owned(), failing)].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(counts(&pulled), [0, 0, 25, 0]);
}

/// A fault that passes teaches nothing.
#[tokio::test]
async fn a_passing_404_does_not_end_searches_for_changes() {
    let scene = portal().await;
    let mut passing = answer(404, Body::Html);
    passing.times = Some(1);
    scene.knobs(Knobs {
        answers: [("Observation".to_owned(), passing)].into(),
        ..Knobs::default()
    });
    assert_eq!(scene.pull().await.mode("Observation"), Some("full"));
    assert_eq!(scene.pull().await.mode("Observation"), Some("updated"));
}

/// A resource dated in the future would hide every change until then.
#[tokio::test]
async fn a_date_in_the_future_does_not_count() {
    let scene = portal().await;
    let future = stamped("Observation", "future", "2099-01-01T00:00:00Z", "");
    scene.portal().put(&future);
    let pulled = scene.pull().await;
    assert_eq!(counts(&pulled), [1, 0, 1, 0]);
    put(&scene, "o-03", 0, 2);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(counts(&pulled), [0, 1, 2, 0]);
    scene.assert_whole().await;
}

/// A clock that was ahead and is set right: what changes now has an earlier time than
/// what is had.
#[tokio::test]
async fn a_clock_that_goes_back_asks_for_everything() {
    let scene = portal_with(Knobs {
        clock_ahead_s: 86_400,
        ..Knobs::default()
    })
    .await;
    scene.knobs(Knobs::default());
    put(&scene, "o-03", 0, 2);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("full"));
    assert_eq!(counts(&pulled), [0, 1, 24, 0]);
}

/// What is committed late has an earlier time than what was served before.
#[tokio::test]
async fn the_overlap_catches_what_is_written_late() {
    let scene = portal().await;
    put(&scene, "late", 125, 1);
    put(&scene, "too-late", 135, 1);
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(counts(&pulled), [1, 0, 1, 0]);
    let whole = scene.full_pull().await;
    assert_eq!(counts(&whole), [1, 0, 26, 0]);
    scene.assert_whole().await;
}

/// Epic, NextGen: resources that do not say when they changed, which no search for
/// changes may find.
#[tokio::test]
async fn a_type_without_last_updated_is_asked_for_whole() {
    let scene = portal().await;
    let unstamped = super::scene::observation("unstamped", "");
    scene.portal().put(&unstamped);
    // The portal knows when that was written, and says so nowhere.
    let pulled = scene.pull().await;
    assert_eq!(pulled.mode("Observation"), Some("updated"));
    assert_eq!(counts(&pulled), [1, 0, 1, 0]);
    for _ in 0..2 {
        let pulled = scene.pull().await;
        assert_eq!(pulled.mode("Observation"), Some("full"));
    }
}

/// What a changed report refers to is known, unless it has changed itself.
#[tokio::test]
async fn what_is_known_of_an_updated_type_is_not_read_again() {
    let scene = portal().await;
    let report = |value: u32, minutes| {
        let rest = format!(
            r#","conclusion":"{value}","result":[{{"reference":"Observation/o-01"}},{{"reference":"Observation/hidden"}}]"#
        );
        let at = ago(&scene, minutes);
        scene
            .portal()
            .put(&stamped("DiagnosticReport", "r", &at, &rest));
    };
    report(1, 30);
    scene.pull().await;
    report(2, 0);
    let hidden = stamped("Observation", "hidden", &ago(&scene, 500), "");
    scene.portal().put(&hidden);
    let pulled = scene.pull().await;
    assert_eq!(pulled.types["DiagnosticReport"].counts.changed, 1);
    assert_eq!(pulled.asked("Observation/o-01"), 0);
    assert_eq!(pulled.asked("Observation/hidden"), 1);
    assert_eq!(pulled.types["Observation"].counts.new, 1);
}

#[tokio::test]
async fn the_watermark_is_the_sources_newest_change() {
    let scene = portal().await;
    let db = &scene.context.db;
    let had_to = async || {
        let known = db.type_watermarks(scene.connection).await.unwrap();
        known["Observation"].had_to
    };
    let before = had_to().await.unwrap();
    let newest = fhir_instant(&ago(&scene, 120)).unwrap();
    assert!(newest.since(before) < MINUTE && before <= Timestamp::now());
    // A search that finds nothing new leaves it.
    scene.pull().await;
    assert_eq!(had_to().await, Some(before));
    put(&scene, "o-03", 60, 2);
    scene.pull().await;
    assert!(had_to().await > Some(before.after(50 * MINUTE)));
}

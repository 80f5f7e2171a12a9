//! The strategy `everything`: what `$everything` gives is not searched for, and what it
//! does not give is.

use db::SourceChange;
use model::Strategy;
use sandbox::{Knobs, Links};

use super::scene::{PATIENT, Scene, observation, resource};

/// Sets the strategy of the scene's source.
pub(super) async fn choose(scene: &Scene, strategy: Strategy) {
    let db = &scene.context.db;
    let connection = db.connection(scene.connection).await.unwrap();
    let change = SourceChange {
        strategy: Some(strategy),
        ..SourceChange::default()
    };
    let source = connection.summary.source_id;
    db.change_source(source, change).await.unwrap();
}

async fn with(resources: &[String], knobs: Knobs) -> Scene {
    let scene = Scene::new(resources).await;
    choose(&scene, Strategy::Everything).await;
    scene.knobs(knobs);
    scene
}

fn record() -> Vec<String> {
    let mut resources: Vec<String> = (0..25)
        .map(|number| observation(&format!("o-{number}"), ""))
        .collect();
    resources.push(resource("Condition", "c", ""));
    resources.push(resource("Condition", "d", ""));
    resources
}

#[tokio::test]
async fn everything_gives_what_searches_give() {
    let scene = Scene::of_sample().await;
    let searched = scene.pull().await;
    scene.assert_whole().await;
    let before = scene.latest().await;

    choose(&scene, Strategy::Everything).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(scene.latest().await, before);
    let counts = pulled.pull.counts;
    assert_eq!(counts.unchanged, searched.pull.counts.new);
    assert_eq!(counts.new + counts.changed + counts.deleted, 0);
    assert!(counts.is_true());
    assert_eq!(pulled.pull.state, model::RunState::Completed);
    // What came is not asked for again; the patient is, whose read says whether the
    // grant works.
    assert_eq!(pulled.asked("Observation?"), 0);
    assert_eq!(pulled.asked("Encounter?"), 0);
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(pulled.notes("Observation")[0].0, "by_everything");
    assert!(pulled.asked.iter().any(|path| path.contains("$everything")));
    // All that did come is paged by the links that searches have.
    assert!(pulled.asked("/fhir?_getpages") + pulled.asked("?_getpages") > 0);
}

#[tokio::test]
async fn types_that_everything_leaves_out_are_searched_for() {
    let knobs = Knobs {
        left_out: ["Condition".to_owned()].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        (pulled.asked("Condition?"), pulled.asked("Observation?")),
        (1, 0)
    );
    assert_eq!(pulled.types["Condition"].counts.new, 2);
    assert!(pulled.notes("Condition").is_empty());
    assert_eq!(pulled.pull.state, model::RunState::Completed);
}

#[tokio::test]
async fn refused_everything_is_searched_for_and_remembered() {
    for status in [400, 403, 404, 405, 501] {
        let knobs = Knobs {
            status_for_type: [("$everything".to_owned(), status)].into(),
            ..Knobs::default()
        };
        let scene = with(&record(), knobs).await;
        let pulled = scene.pull().await;
        scene.assert_whole().await;
        let asked = format!("Patient/{PATIENT}/$everything");
        assert_eq!(pulled.asked(&asked), 1);
        assert_eq!(pulled.notes("Patient"), [("strategy_refused", 0)]);
        assert_eq!(pulled.pull.state, model::RunState::Completed);

        scene.knobs(Knobs::default());
        let again = scene.pull().await;
        assert_eq!((again.asked(&asked), again.asked("Observation?")), (0, 1));
        assert_eq!(again.notes("Patient"), [("strategy_refused", 0)]);

        // Set again, it is tried again.
        choose(&scene, Strategy::Everything).await;
        let tried = scene.pull().await;
        assert_eq!((tried.asked(&asked), tried.asked("Observation?")), (1, 0));
        assert!(tried.notes("Patient").is_empty());
    }
}

/// A refusal that is about `_count` is no refusal of the operation.
#[tokio::test]
async fn everything_is_asked_for_without_count_where_that_is_refused() {
    let knobs = Knobs {
        refuses_count: ["$everything".to_owned()].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    let asked = format!("Patient/{PATIENT}/$everything");
    assert_eq!((pulled.asked(&asked), pulled.asked("Observation?")), (2, 0));
}

/// That a patient may not be read says nothing of the operation.
#[tokio::test]
async fn a_patient_who_may_not_be_read_does_not_make_everything_refused() {
    let knobs = Knobs {
        status_for_type: [("$everything".to_owned(), 403)].into(),
        status_for_read: [(format!("Patient/{PATIENT}"), 404)].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    scene.pull().await;
    scene.knobs(Knobs::default());
    let again = scene.pull().await;
    assert_eq!(again.asked(&format!("Patient/{PATIENT}/$everything")), 1);
    scene.assert_whole().await;
}

#[tokio::test]
async fn everything_that_does_not_end_is_searched_for() {
    let knobs = Knobs {
        next_links: [("$everything".to_owned(), Links::Loop)].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
    assert_eq!(pulled.asked("Condition?"), 1);
    assert_eq!(pulled.pull.state, model::RunState::Completed);
    // That was no refusal.
    scene.knobs(Knobs::default());
    let again = scene.pull().await;
    assert_eq!(again.asked("Condition?"), 0);
}

#[tokio::test]
async fn everything_that_leaves_something_out_and_says_so_is_searched_for() {
    let knobs = Knobs {
        suppressed: ["$everything".to_owned()].into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
    assert_eq!(pulled.end("Observation"), ("complete", None));
}

/// FHIR servers' `$everything` is never a source of deletions.
#[tokio::test]
async fn what_everything_no_longer_gives_is_not_taken_for_deleted() {
    let scene = with(&record(), Knobs::default()).await;
    scene.pull().await;
    scene.pull().await;
    scene.portal().remove("Condition", "c");
    assert_eq!(scene.pull().await.pull.counts.deleted, 0);
    // Searches that were asked alike twice say so; the first is compared with none.
    choose(&scene, Strategy::Search).await;
    assert_eq!(scene.pull().await.pull.counts.deleted, 0);
    assert_eq!(scene.pull().await.pull.counts.deleted, 1);
    scene.assert_whole().await;
}

#[tokio::test]
async fn what_everything_gives_of_others_is_not_taken() {
    let mut resources = record();
    resources.push(r#"{"resourceType":"Patient","id":"q"}"#.to_owned());
    resources.push(
        r#"{"resourceType":"Condition","id":"of-q","subject":{"reference":"Patient/q"}}"#
            .to_owned(),
    );
    let knobs = Knobs {
        given_along: ["q".to_owned()].into(),
        ..Knobs::default()
    };
    let scene = with(&resources, knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.types["Condition"].counts.ignored, 1);
    assert_eq!(
        pulled.notes("Condition"),
        [("by_everything", 2), ("of_others", 1)]
    );
    assert!(pulled.pull.counts.is_true());
}

/// The types that are chosen bound this strategy, too.
#[tokio::test]
async fn types_that_are_not_wanted_are_not_taken_of_everything() {
    let scene = with(&record(), Knobs::default()).await;
    let db = &scene.context.db;
    let connection = db.connection(scene.connection).await.unwrap();
    let types = ["Condition".to_owned()];
    let change = SourceChange {
        types: Some(Some(&types)),
        ..SourceChange::default()
    };
    let source = connection.summary.source_id;
    db.change_source(source, change).await.unwrap();
    scene.pull().await;
    let latest = scene.latest().await;
    let names: std::collections::BTreeSet<&str> =
        latest.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["Condition", "Patient"]
    );
}

//! Paging: what links, cursors and pages of portals are like, one test for each
//! fact.

use sandbox::{Answer, Body, Knobs, Links};

use super::scene::{PATIENT, Pulled, Scene, answer, observation, resource};

/// A portal with 25 observations, in pages of ten, and these knobs.
async fn pages(knobs: Knobs) -> Scene {
    let resources: Vec<String> = (0..25)
        .map(|n| observation(&format!("o-{n:02}"), &format!(r#","valueInteger":{n}"#)))
        .collect();
    let scene = Scene::new(&resources).await;
    scene.knobs(knobs);
    scene
}

fn links(links: Links) -> Knobs {
    Knobs {
        next_links: [("Observation".to_owned(), links)].into(),
        ..Knobs::default()
    }
}

/// Pulls, and fails unless every observation came.
async fn whole(knobs: Knobs) -> (Scene, Pulled) {
    let scene = pages(knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(pulled.types["Observation"].counts.new, 25);
    (scene, pulled)
}

#[tokio::test]
async fn fact_01_links_are_opaque() {
    let (_, pulled) = whole(links(Links::Session)).await;
    assert_eq!(pulled.asked("Observation?sessionID="), 2);
    assert_eq!(pulled.asked(&format!("Observation?patient={PATIENT}")), 1);
}

#[tokio::test]
async fn fact_02_the_path_of_a_link_may_change_its_case() {
    let (_, pulled) = whole(links(Links::PathCase)).await;
    assert_eq!(pulled.asked("/FHIR?"), 2);
}

#[tokio::test]
async fn fact_03_links_may_be_relative() {
    whole(links(Links::Relative)).await;
}

#[tokio::test]
async fn fact_04_a_link_that_leads_back_ends_the_type_incomplete() {
    let scene = pages(links(Links::Loop)).await;
    let pulled = scene.pull().await;
    assert_eq!(
        pulled.end("Observation"),
        ("truncated", Some("cursor_loop"))
    );
    // What came before the loop is kept, and nothing is believed to be gone.
    assert_eq!(pulled.types["Observation"].counts.new, 20);
    assert_eq!(pulled.pull.state, model::RunState::Partial);
    let watermarks = scene.context.db.type_watermarks(scene.connection).await;
    assert!(!watermarks.unwrap().contains_key("Observation"));
}

#[tokio::test]
async fn fact_05_an_empty_page_with_a_link_is_not_the_end_and_one_without_is() {
    let (_, pulled) = whole(links(Links::EmptyPages)).await;
    assert_eq!(pulled.types["Observation"].pages, 6);
    let (_, pulled) = whole(links(Links::Dangling)).await;
    assert_eq!(pulled.types["Observation"].pages, 4);
}

#[tokio::test]
async fn fact_06_a_cursor_that_expired_begins_the_search_anew_a_few_times() {
    for status in [410, 404, 400] {
        let mut knobs = Knobs::default();
        let expired = Answer {
            times: Some(1),
            ..answer(status, Body::Outcome)
        };
        knobs.next_answers.insert("Observation".to_owned(), expired);
        let (_, pulled) = whole(knobs).await;
        let first = format!("Observation?patient={PATIENT}");
        assert_eq!(pulled.asked(&first), 2, "{status}");
        assert_eq!(pulled.types["Observation"].counts.repeated, 10);
    }
    let mut knobs = Knobs::default();
    let gone = answer(410, Body::Outcome);
    knobs.next_answers.insert("Observation".to_owned(), gone);
    let scene = pages(knobs).await;
    let pulled = scene.pull().await;
    assert_eq!(
        pulled.end("Observation"),
        ("gave_up", Some("cursor_expired"))
    );
    assert_eq!(pulled.asked(&format!("Observation?patient={PATIENT}")), 4);
}

#[tokio::test]
async fn fact_07_what_comes_twice_while_it_is_paged_counts_once() {
    let knobs = Knobs {
        repeat_pages: true,
        ..Knobs::default()
    };
    let (_, pulled) = whole(knobs).await;
    let counts = pulled.types["Observation"].counts;
    assert_eq!((counts.fetched, counts.repeated), (27, 2));
    assert!(counts.is_true());
}

#[tokio::test]
async fn fact_08_the_total_is_not_believed() {
    let knobs = Knobs {
        counts_the_page: true,
        ..Knobs::default()
    };
    whole(knobs).await;
}

#[tokio::test]
async fn fact_09_count_may_be_capped_fatal_or_too_much() {
    let capped = Knobs {
        page_size: Some(3),
        ..Knobs::default()
    };
    let (_, pulled) = whole(capped).await;
    assert_eq!(pulled.types["Observation"].pages, 9);
    let fatal = Knobs {
        refuses_count: ["Observation".to_owned()].into(),
        ..Knobs::default()
    };
    whole(fatal).await;
    // Answered by a gateway's time-out while pages are large.
    let mut slow = Knobs::default();
    slow.times_out_above_count
        .insert("Observation".to_owned(), 30);
    let (_, pulled) = whole(slow).await;
    let first = |count: u32| {
        let path = format!("Observation?patient={PATIENT}&_count={count}");
        pulled.asked.iter().filter(|asked| **asked == path).count()
    };
    assert_eq!((first(100), first(50), first(25)), (2, 2, 1));
}

/// Procedures come without a mode; a Bundle's outcomes are told by their type.
#[tokio::test]
async fn fact_10_entries_need_no_mode() {
    let resources = [
        resource("Procedure", "a", ""),
        resource("Condition", "b", ""),
    ];
    let scene = Scene::new(&resources).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.end("Procedure"), ("complete", None));
    assert_eq!(pulled.types["Condition"].counts.ignored, 1);
}

#[tokio::test]
async fn fact_11_a_200_may_hide_a_loss() {
    let resources = [resource("Condition", "a", "")];
    let scene = Scene::new(&resources).await;
    // A notice that stands in every answer is none.
    let pulled = scene.pull().await;
    assert_eq!(pulled.end("Condition"), ("complete", None));
    scene.knobs(Knobs {
        suppressed: ["Condition".to_owned()].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(pulled.end("Condition"), ("suppressed", Some("suppressed")));
    assert_eq!(pulled.pull.state, model::RunState::Partial);
    assert_eq!(pulled.types["Condition"].counts.unchanged, 1);
}

#[tokio::test]
async fn fact_12_a_link_to_another_server_is_not_followed() {
    let scene = pages(links(Links::Foreign)).await;
    let pulled = scene.pull().await;
    assert_eq!(
        pulled.end("Observation"),
        ("truncated", Some("foreign_link"))
    );
    assert_eq!(pulled.asked("Observation?"), 1);
}

#[tokio::test]
async fn fact_13_what_is_no_searchset_is_never_no_results() {
    for body in [
        Body::Html,
        Body::History,
        Body::NoResources,
        Body::Truncated,
        Body::Empty,
    ] {
        let mut knobs = Knobs::default();
        knobs
            .answers
            .insert("Observation".to_owned(), answer(200, body));
        let scene = pages(knobs).await;
        let pulled = scene.pull().await;
        let end = ("gave_up", Some("source_protocol"));
        assert_eq!(pulled.end("Observation"), end, "{body:?}");
        assert_eq!(pulled.asked("Observation?"), 2, "{body:?}");
    }
}

/// A cursor that lay about for ten minutes is not believed, whatever it gives.
#[test]
fn an_old_cursor_is_suspect() {
    use std::time::Duration;

    use model::Timestamp;
    use source::{Access, StreamPlan};

    let parameter = "patient".to_owned();
    let mut stream =
        crate::pull_progress::Stream::new(StreamPlan::new("Goal", Access::Search { parameter }));
    let now = Timestamp::now();
    assert!(!stream.is_suspect(now));
    stream.advance("https://ehr.example/fhir?page=2".to_owned(), now);
    assert!(!stream.is_suspect(now.after(Duration::from_secs(590))));
    assert!(stream.is_suspect(now.after(Duration::from_secs(600))));
    stream.expire();
    assert!(stream.cursor.is_none() && !stream.is_suspect(now.after(Duration::from_secs(9_999))));
    assert_eq!(stream.restarts, 1);
}

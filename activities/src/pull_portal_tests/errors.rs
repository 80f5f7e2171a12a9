//! Errors and what a pull decides: the table of what sources answer in the field,
//! row by row.

use model::{ConnectionStatus, RunState};
use sandbox::{Answer, Body, Knobs, SandboxOptions};

use super::scene::{Scene, answer, observation, resource};

/// What is asked wrongly, how it is answered, and what comes of it.
struct Row {
    name: &'static str,
    answer: Answer,
    /// Outcome and code of the type.
    end: (&'static str, Option<&'static str>),
    /// Searches of the type.
    asked: usize,
}

fn with(mut answer: Answer, header: &str, value: &str) -> Answer {
    answer.headers.insert(header.to_owned(), value.to_owned());
    answer
}

fn times(times: u32, answer: Answer) -> Answer {
    Answer {
        times: Some(times),
        ..answer
    }
}

fn text(text: &str, answer: Answer) -> Answer {
    Answer {
        text: text.to_owned(),
        ..answer
    }
}

/// Of one type, flags, which no other search gives; the others are unharmed.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let row = |name, answer, end, asked| Row { name, answer, end, asked };
    let complete = ("complete", None);
    let refused = ("refused", Some("refused"));
    let gave_up = |code| ("gave_up", Some(code));
    vec![
        row("401 on one type while others work", answer(401, Body::Html), ("refused", Some("unauthorized")), 1),
        row("403 with an empty body and insufficient_scope", with(answer(403, Body::Empty), "www-authenticate", r#"Bearer error="insufficient_scope""#), ("refused", Some("insufficient_scope")), 1),
        row("403 forbidden", answer(403, Body::Outcome), refused, 1),
        row("404 search, a page for people", answer(404, Body::Html), refused, 1),
        row("404 search, an outcome", answer(404, Body::Outcome), refused, 1),
        row("400 malformed: without _count, then no more", answer(400, Body::Html), refused, 2),
        row("405", answer(405, Body::Outcome), refused, 1),
        row("406 wrong media type", answer(406, Body::Html), refused, 1),
        row("422 wrong media type", answer(422, Body::Html), refused, 1),
        row("501", answer(501, Body::Outcome), refused, 1),
        row("429 with Retry-After in seconds", times(1, with(answer(429, Body::Empty), "retry-after", "1")), complete, 2),
        row("429 with Retry-After as a date", times(1, with(answer(429, Body::Empty), "retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")), complete, 2),
        row("429 with RateLimit-Reset", times(1, with(answer(429, Body::Empty), "ratelimit-reset", "1")), complete, 2),
        row("429 with x-ms-retry-after-ms", times(1, with(answer(429, Body::Empty), "x-ms-retry-after-ms", "200")), complete, 2),
        row("503 throttles", times(2, with(answer(503, Body::Html), "retry-after", "0")), complete, 3),
        row("500 with an outcome may be permanent", text("not known", answer(500, Body::Outcome)), gave_up("source_failed"), 3),
        row("500 with an outcome may pass", times(2, text("not known", answer(500, Body::Outcome))), complete, 3),
        row("500 without an outcome is transient", times(5, answer(500, Body::Html)), complete, 6),
        row("502 is transient", times(5, answer(502, Body::Html)), complete, 6),
        row("502 for ever is given up", answer(502, Body::Html), gave_up("source_unavailable"), 6),
        row("200 that is no JSON is transient once", times(1, answer(200, Body::Html)), complete, 2),
        row("200 that is cut off is transient once", times(1, answer(200, Body::Truncated)), complete, 2),
        row("200 that is no JSON twice has failed", answer(200, Body::Html), gave_up("source_protocol"), 2),
    ]
}

#[tokio::test]
async fn each_answer_has_its_decision() {
    let resources = [
        resource("Flag", "f", ""),
        observation("o", ""),
        resource("Goal", "g", ""),
    ];
    for row in rows() {
        let name = row.name;
        let scene = Scene::new(&resources).await;
        scene.knobs(Knobs {
            answers: [("Flag".to_owned(), row.answer)].into(),
            ..Knobs::default()
        });
        let pulled = scene.pull().await;
        assert_eq!(pulled.end("Flag"), row.end, "{name}");
        assert_eq!(pulled.asked("Flag?"), row.asked, "{name}");
        let is_whole = row.end.0 == "complete";
        // What others gave is settled, and is what an export finds.
        assert_eq!(pulled.end("Observation"), ("complete", None), "{name}");
        assert_eq!(pulled.end("Goal"), ("complete", None), "{name}");
        assert_eq!(
            scene.latest().await.len(),
            3 + usize::from(is_whole),
            "{name}"
        );
        let state = if is_whole {
            RunState::Completed
        } else {
            RunState::Partial
        };
        assert_eq!(pulled.pull.state, state, "{name}");
        assert!(pulled.pull.counts.is_true(), "{name}");
        assert_eq!(scene.status().await, ConnectionStatus::Active, "{name}");
    }
}

/// 401 for the patient itself, and 403 while the source answers otherwise: the grant
/// is gone. What is known stays, and so do the watermarks.
#[tokio::test]
async fn a_grant_that_is_gone_needs_a_new_connection() {
    for (status, code) in [(401, "unauthorized"), (403, "consent_withdrawn")] {
        let scene = Scene::new(&[observation("o", "")]).await;
        scene.pull().await;
        let db = &scene.context.db;
        let watermarks = db.type_watermarks(scene.connection).await.unwrap();
        assert!(watermarks.contains_key("Observation"));
        scene.knobs(Knobs {
            answers: [("Patient".to_owned(), answer(status, Body::Outcome))].into(),
            ..Knobs::default()
        });
        let failure = scene.try_pull().await.unwrap_err();
        assert_eq!(failure.told().0, code);
        assert_eq!(scene.status().await, ConnectionStatus::NeedsReconnect);
        let kept = db.type_watermarks(scene.connection).await.unwrap();
        assert_eq!(kept, watermarks);
        assert_eq!(scene.latest().await.len(), 2);
    }
}

/// A portal that takes no token at all refuses everything.
#[tokio::test]
async fn a_401_for_everything_needs_a_new_connection() {
    let options = SandboxOptions {
        bearer_token: Some("another".to_owned()),
        ..SandboxOptions::default()
    };
    let scene = Scene::with(&[observation("o", "")], options).await;
    let failure = scene.try_pull().await.unwrap_err();
    assert_eq!(failure.told().0, "unauthorized");
    assert_eq!(scene.status().await, ConnectionStatus::NeedsReconnect);
}

/// A token whose scopes leave out the patient is no lost consent.
#[tokio::test]
async fn a_patient_beyond_the_scopes_is_a_refused_type() {
    let scene = Scene::new(&[observation("o", "")]).await;
    let no_scope = with(
        answer(403, Body::Empty),
        "www-authenticate",
        r#"Bearer error="insufficient_scope""#,
    );
    scene.knobs(Knobs {
        answers: [("Patient".to_owned(), no_scope)].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(
        pulled.end("Patient"),
        ("refused", Some("insufficient_scope"))
    );
    assert_eq!(pulled.end("Observation"), ("complete", None));
    assert_eq!(scene.status().await, ConnectionStatus::Active);
}

/// Reads: dangling references are normal, what fails is an item's failure, and what
/// was deleted is gone.
#[tokio::test]
async fn reads_decide_for_one_resource_alone() {
    let performer = |id: &str| format!(r#","performer":[{{"reference":"Practitioner/{id}"}}]"#);
    let mut resources: Vec<String> = ["known", "dangling", "failing", "deleted"]
        .iter()
        .map(|id| observation(id, &performer(id)))
        .collect();
    for id in ["known", "deleted", "failing"] {
        resources.push(format!(r#"{{"resourceType":"Practitioner","id":"{id}"}}"#));
    }
    let scene = Scene::new(&resources).await;
    scene.knobs(Knobs {
        status_for_read: [("Practitioner/failing".to_owned(), 500)].into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(
        pulled.end("Practitioner"),
        ("complete", Some("reads_failed"))
    );
    assert_eq!(pulled.asked("Practitioner/failing"), 3);
    assert_eq!(pulled.asked("Practitioner/dangling"), 1);
    assert_eq!(pulled.types["Practitioner"].counts.new, 2);
    scene.portal().remove("Practitioner", "deleted");
    let pulled = scene.pull().await;
    assert_eq!(pulled.types["Practitioner"].counts.deleted, 1);
}

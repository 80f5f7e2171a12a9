//! Sources that throttle: asked as often as they bear, by everybody who asks them, and
//! nothing is lost.

use std::time::Duration;

use model::RunState;
use sandbox::{Body, Knobs, LogEntry};
use source::Error;

use super::scene::{PATIENT, Scene, answer, observation, resource};
use crate::pull_references::READS_IN_FLIGHT;
use crate::slot::{Asker, Turn, with_slot};
use crate::{Context, pull_plan, testing};

/// What the portal bears.
const BEARS: u32 = 20;

/// A patient of `count` observations, ten a page.
async fn scene(count: usize) -> Scene {
    let resources: Vec<String> = (0..count)
        .map(|number| observation(&format!("o-{number}"), ""))
        .collect();
    Scene::new(&resources).await
}

fn throttling() -> Knobs {
    Knobs {
        requests_per_second: Some(BEARS),
        page_size: Some(2),
        ..Knobs::default()
    }
}

/// Those of the answers that were given in the last so many seconds.
fn last(log: &[LogEntry], seconds: i64) -> impl Iterator<Item = &LogEntry> {
    let end = log.last().map_or(0, |entry| entry.at_us);
    let from = end - seconds * 1_000_000;
    log.iter().filter(move |entry| entry.at_us > from)
}

/// Pulls from a portal that answers 429 above what it bears, and says how often it was
/// asked too much.
async fn pull_from_throttling(limit: Option<u32>) -> usize {
    let scene = scene(200).await;
    if let Some(limit) = limit {
        scene.limit(limit).await;
    }
    scene.knobs(throttling());
    let pulled = scene.pull().await;
    assert_eq!(pulled.pull.state, RunState::Completed);
    assert_eq!(pulled.pull.counts.new, 201);
    scene.assert_whole().await;

    let log = scene.portal().log();
    let (answered, seconds) = (last(&log, 4).filter(|of| of.status == 200).count(), 4);
    let bears = BEARS as usize * seconds;
    // It ends up near what is borne.
    assert!(answered * 2 >= bears, "{answered} in the last {seconds} s");
    assert!(answered <= bears + BEARS as usize, "{answered}");
    let refused = log.iter().filter(|of| of.status == 429).count();
    assert!(refused > 0, "it never throttled");
    refused
}

#[tokio::test]
async fn a_source_without_a_limit_is_asked_about_as_often_as_it_bears() {
    let refused = pull_from_throttling(None).await;
    assert!(refused <= 12, "{refused} requests too many");
}

#[tokio::test]
async fn a_limit_that_is_too_high_is_brought_down() {
    let refused = pull_from_throttling(Some(60)).await;
    assert!(refused <= 12, "{refused} requests too many");
}

/// One request that is told to wait keeps all others from asking, in every worker.
#[tokio::test]
async fn a_wait_that_is_asked_for_is_everybodys() {
    let scene = scene(3).await;
    let mut wait = answer(429, Body::Empty);
    wait.headers.insert("retry-after".into(), "60".into());
    wait.times = Some(1);
    scene.knobs(Knobs {
        answers: [("Observation".to_owned(), wait)].into(),
        ..Knobs::default()
    });
    let client = async |context: &Context| {
        let connection = scene.db().connection(scene.connection).await.unwrap();
        context.client(&connection).unwrap()
    };
    let told = client(&scene.context)
        .await
        .read("Observation", "o-0")
        .await;
    assert!(matches!(told, Err(Error::Throttled { status: 429, .. })));
    let other_worker = testing::context(scene.db(), &scene.context.store);
    for context in [&scene.context, &other_worker] {
        let read = client(context).await.read("Patient", PATIENT).await;
        let Err(Error::NotYet { after, is_held, .. }) = read else {
            panic!("it was asked: {read:?}");
        };
        assert!(is_held && after > Duration::from_secs(50), "{after:?}");
    }
    assert_eq!(scene.portal().log().len(), 1);
}

/// A source that lets nothing through is asked for a while, and not again as long for
/// each type: the pull ends.
#[tokio::test]
async fn a_type_after_one_that_was_throttled_for_good_is_given_up_soon() {
    let scene = Scene::new(&[resource("Flag", "f", ""), resource("Goal", "g", "")]).await;
    let wanted = ["Flag", "Goal"].map(str::to_owned);
    let source = scene.db().source("portal").await.unwrap().id;
    let change = db::SourceChange {
        types: Some(Some(&wanted)),
        ..db::SourceChange::default()
    };
    scene.db().change_source(source, change).await.unwrap();
    let mut closed = answer(429, Body::Empty);
    closed.headers.insert("retry-after".into(), "0".into());
    let answers = wanted.map(|name| (name, closed.clone()));
    scene.knobs(Knobs {
        answers: answers.into(),
        ..Knobs::default()
    });
    let pulled = scene.pull().await;
    assert_eq!(pulled.pull.state, RunState::Partial);
    for (name, asked) in [("Flag", 61), ("Goal", 6)] {
        assert_eq!(pulled.end(name), ("gave_up", Some("throttled")), "{name}");
        assert_eq!(pulled.asked(&format!("{name}?")), asked, "{name}");
    }
}

/// Whoever asks while the source wants to be left alone is put off, and takes no slot.
#[tokio::test]
async fn a_step_that_cannot_ask_yet_is_put_off() {
    let scene = scene(1).await;
    let db = scene.db();
    let source = db.source("portal").await.unwrap().id.to_string();
    let asked = db.request_pull(scene.connection, model::Trigger::Manual);
    let pull = asked.await.unwrap();
    db.claim_pull(scene.connection, "chain").await.unwrap();
    let told = db::Throttled {
        hold: Duration::from_secs(30),
        ..db::Throttled::default()
    };
    db.throttle(&source, &told).await.unwrap();
    let asker = Asker {
        connection: scene.connection,
        pull,
        step: "pages-0",
        requests: 1,
    };
    let turn = with_slot(&scene.context, asker, async |_| -> Result<(), _> {
        panic!("it is not to be asked")
    });
    let Turn::Later(wait_ms) = turn.await.unwrap() else {
        panic!("there was no turn");
    };
    assert!((29_000..=30_000).contains(&wait_ms), "{wait_ms}");
    // A step that is at work already does not fail either.
    let plan = steps::PlanPull {
        pull_id: pull,
        connection_id: scene.connection,
        step_count: 1,
    };
    let planned = pull_plan::run(&scene.context, &plan).await.unwrap();
    assert!(planned.steps.is_empty() && planned.wait_ms > 29_000);
    assert!(scene.portal().log().is_empty());
}

/// As many requests at once as the source bears, whoever makes them.
#[tokio::test]
async fn requests_at_once_are_counted_over_steps() {
    let scene = scene(1).await;
    let db = scene.db();
    let id = db.source("portal").await.unwrap().id;
    let change = db::SourceChange {
        concurrent_requests: Some(Some(3)),
        ..db::SourceChange::default()
    };
    db.change_source(id, change).await.unwrap();
    let asked = db.request_pull(scene.connection, model::Trigger::Manual);
    let pull = asked.await.unwrap();
    db.claim_pull(scene.connection, "chain").await.unwrap();
    let step = |step, requests| Asker {
        connection: scene.connection,
        pull,
        step,
        requests,
    };
    let context = &scene.context;
    let outer = with_slot(context, step("pages-0", 1), async |requests| {
        assert_eq!(requests, 1);
        // Two are left for one that would like four.
        let references = step("references", READS_IN_FLIGHT);
        let inner = with_slot(context, references, async |requests| {
            assert_eq!(requests, 2);
            let none = with_slot(context, step("pages-1", 1), async |_| Ok(())).await?;
            assert!(matches!(none, Turn::Later(_)));
            Ok(())
        });
        assert!(matches!(inner.await?, Turn::Done(())));
        // They are given back.
        let again = with_slot(context, step("pages-1", 1), async |_| Ok(())).await?;
        assert!(matches!(again, Turn::Done(())));
        Ok(())
    });
    assert!(matches!(outer.await.unwrap(), Turn::Done(())));
}

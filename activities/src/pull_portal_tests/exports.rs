//! The strategy `bulk`: an export of the patient is asked for once, waited for by
//! timers, read file by file, and searches fill what it does not vouch for.

use model::{PullId, RunState, Strategy, Trigger};
use sandbox::{ExportKnobs, Knobs};
use steps::{ClosePull, PlanPull, PullStep, PullStepReceipt};

use super::everything::choose;
use super::scene::{Pulled, Scene, observation, persist, resource};
use crate::{pull_export, pull_pages, pull_plan};

pub(super) const KICK_OFF: &str = "Patient/$export";

pub(super) async fn with(resources: &[String], knobs: Knobs) -> Scene {
    let scene = Scene::new(resources).await;
    choose(&scene, Strategy::Bulk).await;
    scene.knobs(knobs);
    scene
}

pub(super) fn record() -> Vec<String> {
    let mut resources: Vec<String> = (0..25)
        .map(|number| observation(&format!("o-{number}"), ""))
        .collect();
    resources.push(resource("Condition", "c", ""));
    resources.push(resource("Condition", "d", ""));
    resources
}

pub(super) fn exporting(export: ExportKnobs) -> Knobs {
    Knobs {
        export,
        ..Knobs::default()
    }
}

/// Fails unless the pull was whole, by one export alone.
pub(super) fn assert_by_export(pulled: &Pulled) {
    assert_eq!(pulled.pull.state, RunState::Completed);
    assert_eq!(pulled.asked(KICK_OFF), 1);
    assert_eq!(pulled.asked("Observation?"), 0);
    assert_eq!(pulled.notes("Observation")[0].0, "by_export");
    assert!(pulled.pull.counts.is_true());
}

/// A pull that is planned and not carried out.
pub(super) async fn begun(scene: &Scene) -> PullId {
    let db = &scene.context.db;
    let asked = db.request_pull(scene.connection, Trigger::Manual).await;
    asked.unwrap();
    let claimed = db.claim_pull(scene.connection, "chain").await;
    let pull_id = claimed.unwrap().unwrap();
    let plan = PlanPull {
        pull_id,
        connection_id: scene.connection,
        step_count: 1,
    };
    let planned = pull_plan::run(&scene.context, &plan).await;
    let planned = planned.unwrap_or_else(|failure| panic!("{failure}"));
    let names: Vec<&str> = planned.steps.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, [steps::EXPORT_STEP, "pages-0"]);
    pull_id
}

/// One call of the step that fetches the export, by an attempt of its own.
pub(super) async fn call(scene: &Scene, pull_id: PullId, pages_max: u64) -> PullStepReceipt {
    let call = PullStep {
        pull_id,
        connection_id: scene.connection,
        step: steps::EXPORT_STEP.to_owned(),
        pages_max,
    };
    match persist(async || pull_pages::run(&scene.context, &call).await).await {
        Ok(receipt) => receipt,
        Err(failure) => panic!("{failure}"),
    }
}

fn kick_offs(scene: &Scene) -> usize {
    let log = scene.portal().log();
    log.iter().filter(|of| of.method == "POST").count()
}

#[tokio::test]
async fn an_export_gives_what_searches_give() {
    let scene = Scene::of_sample().await;
    let searched = scene.pull().await;
    scene.assert_whole().await;
    let before = scene.latest().await;

    choose(&scene, Strategy::Bulk).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_by_export(&pulled);
    assert_eq!(scene.latest().await, before);
    let counts = pulled.pull.counts;
    assert_eq!(counts.unchanged, searched.pull.counts.new);
    assert_eq!(counts.new + counts.changed + counts.deleted, 0);
    // It is told that it is over.
    assert_eq!(scene.portal().open_exports(), 0);
}

#[tokio::test]
async fn types_without_a_file_are_empty_and_devices_are_searched_for() {
    let mut resources = record();
    resources.push(resource("Device", "x", ""));
    resources.push(resource("Goal", "g", ""));
    let knobs = Knobs {
        left_out: ["Device", "Goal"].map(str::to_owned).into(),
        ..Knobs::default()
    };
    let scene = with(&resources, knobs).await;
    let pulled = scene.pull().await;
    // Devices lie beside the patient compartment, which is all that an export need hold.
    assert_eq!((pulled.asked("Device?"), pulled.asked("Goal?")), (1, 0));
    assert_eq!(pulled.types["Device"].counts.new, 1);
    assert_eq!(pulled.end("Goal"), ("complete", None));
    assert_eq!(pulled.notes("Goal"), [("by_export", 0)]);
    assert_by_export(&pulled);
}

#[tokio::test]
async fn a_slow_export_is_looked_at_as_often_as_it_says_and_holds_nothing() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            polls: 3,
            retry_after: Some("7".to_owned()),
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pull_id = begun(&scene).await;
    let mut waits = Vec::new();
    loop {
        let receipt = call(&scene, pull_id, 1_000).await;
        if !receipt.more {
            break;
        }
        waits.push(receipt.wait_ms);
    }
    assert_eq!(waits, [1_000, 7_000, 7_000, 7_000]);
    assert_eq!(kick_offs(&scene), 1);
}

#[tokio::test]
async fn a_slow_export_that_does_not_say_when_is_looked_at_ever_more_rarely() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            polls: 3,
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pull_id = begun(&scene).await;
    let mut waits = Vec::new();
    for _ in 0..4 {
        waits.push(call(&scene, pull_id, 1_000).await.wait_ms);
    }
    assert_eq!(waits, [1_000, 1_000, 2_000, 4_000]);
}

/// Each call is another attempt, and has only what the one before saved.
#[tokio::test]
async fn every_attempt_goes_on_by_the_status_url_and_the_files_that_are_left() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            polls: 2,
            lines_per_file: Some(4),
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pull_id = begun(&scene).await;
    let mut calls = 0;
    while call(&scene, pull_id, 1).await.more {
        calls += 1;
        assert!(calls < 50, "it never ends");
    }
    assert!(calls >= 9, "{calls}");
    assert_eq!(kick_offs(&scene), 1);
    let log = scene.portal().log();
    let mut files: Vec<&str> = log
        .iter()
        .filter(|of| of.path.contains("$export-file"))
        .map(|of| of.path.as_str())
        .collect();
    let count = files.len();
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), count, "a file was read twice");
}

#[tokio::test]
async fn what_an_export_says_is_deleted_is_gone() {
    let scene = with(&record(), Knobs::default()).await;
    scene.pull().await;
    for id in ["c", "d"] {
        scene.portal().remove("Condition", id);
    }
    // One that was never known, one that is not gone, and one that is said to be twice.
    let deleted = [
        "Condition/c",
        "Condition/d",
        "Condition/d",
        "Flag/x",
        "Observation/o-1",
    ];
    scene.knobs(exporting(ExportKnobs {
        deleted: deleted.map(str::to_owned).into(),
        ..ExportKnobs::default()
    }));
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.types["Condition"].counts.deleted, 2);
    assert_eq!(pulled.pull.counts.deleted, 2);
    // The source's word is enough.
    assert_eq!(pulled.asked("Condition/"), 0);
}

/// That very much should be gone at once is not believed from a list.
#[tokio::test]
async fn an_export_that_says_almost_everything_is_deleted_is_not_believed() {
    let scene = with(&record(), Knobs::default()).await;
    scene.pull().await;
    let all = (0..25).map(|number| format!("Observation/o-{number}"));
    let knobs = Knobs {
        left_out: ["Observation".to_owned()].into(),
        ..exporting(ExportKnobs {
            deleted: all.collect(),
            ..ExportKnobs::default()
        })
    };
    scene.knobs(knobs);
    let pulled = scene.pull().await;
    assert_eq!(pulled.pull.counts.deleted, 0);
    assert_eq!(pulled.pull.error_code.as_deref(), Some("deletes_held"));
}

#[tokio::test]
async fn what_two_whole_exports_no_longer_hold_is_looked_into() {
    let scene = with(&record(), Knobs::default()).await;
    scene.pull().await;
    scene.portal().remove("Condition", "c");
    let pulled = scene.pull().await;
    assert_eq!(
        (pulled.asked("Condition/"), pulled.pull.counts.deleted),
        (1, 1)
    );
    scene.assert_whole().await;
}

#[tokio::test]
async fn the_export_of_a_pull_that_ends_early_is_ended_at_the_source() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            polls: 9,
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pull_id = begun(&scene).await;
    call(&scene, pull_id, 1_000).await;
    assert_eq!(scene.portal().open_exports(), 1);
    let close = ClosePull {
        pull_id,
        state: RunState::Cancelled,
        code: "cancelled".to_owned(),
    };
    let db = &scene.context.db;
    db.end_pull(pull_id, close.state, &close.code)
        .await
        .unwrap();
    pull_export::abandon(&scene.context, scene.connection, pull_id).await;
    assert_eq!(scene.portal().open_exports(), 0);
    // Without an export there is nothing to do.
    choose(&scene, Strategy::Search).await;
    let pulled = scene.pull().await;
    pull_export::abandon(&scene.context, scene.connection, pulled.pull.id).await;
}

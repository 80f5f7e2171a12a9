//! The files of an export: at other origins, at URLs that expire, with lines that are
//! broken or of others.

use model::{RunState, Strategy, TypeOutcome};
use sandbox::{Break, ExportKnobs, Knobs, SandboxOptions};

use super::everything::choose;
use super::exports::{KICK_OFF, assert_by_export, begun, call, exporting, record, with};
use super::scene::{Scene, observation};

/// Files at another origin, by their URL or by a redirect, are read without the
/// source's credentials: the storage there refuses any.
#[tokio::test]
async fn files_at_another_origin_get_no_credentials() {
    for (redirects, open_files) in [(true, false), (false, true), (true, true)] {
        let options = SandboxOptions {
            bearer_token: Some("secret".to_owned()),
            ..SandboxOptions::default()
        };
        let token = options.bearer_token.clone();
        let scene = Scene::with_token(&record(), options, token).await;
        choose(&scene, Strategy::Bulk).await;
        scene.knobs(exporting(ExportKnobs {
            redirects,
            open_files,
            ..ExportKnobs::default()
        }));
        let pulled = scene.pull().await;
        scene.assert_whole().await;
        assert_by_export(&pulled);
        assert!(pulled.asked("/storage/") > 0);
    }
}

#[tokio::test]
async fn files_of_the_source_are_read_with_its_credentials() {
    let options = SandboxOptions {
        bearer_token: Some("secret".to_owned()),
        ..SandboxOptions::default()
    };
    let token = options.bearer_token.clone();
    let scene = Scene::with_token(&record(), options, token).await;
    choose(&scene, Strategy::Bulk).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_by_export(&pulled);
    assert_eq!(pulled.asked("/storage/"), 0);
}

#[tokio::test]
async fn files_whose_urls_expire_are_found_by_the_manifest_again() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            files_move_after: Some(1),
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_by_export(&pulled);
    assert_eq!(
        pulled.pull.counts.repeated, 1,
        "the patient, who is always read"
    );
}

#[tokio::test]
async fn an_export_that_is_forgotten_half_way_is_asked_for_again() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            forgets_after: Some(1),
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(pulled.asked(KICK_OFF), 2);
    assert_eq!(pulled.asked("Observation?"), 0);
    assert_eq!(pulled.pull.state, RunState::Completed);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_costs_its_own_type_alone() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            lines_per_file: Some(10),
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pull_id = begun(&scene).await;
    // The kick-off, the look that gives the manifest, and the first file: conditions.
    while call(&scene, pull_id, 1).await.pages == 0 {}
    let knobs = Knobs {
        status_for_type: [("$export-file".to_owned(), 403)].into(),
        ..Knobs::default()
    };
    scene.knobs(knobs);
    let receipt = loop {
        let receipt = call(&scene, pull_id, 1_000).await;
        if !receipt.more {
            break receipt;
        }
    };
    let had: Vec<&str> = receipt
        .types
        .iter()
        .filter(|of| of.plan_hash.is_some())
        .map(|of| of.resource_type.as_str())
        .collect();
    assert!(
        had.contains(&"Condition") && !had.contains(&"Observation"),
        "{had:?}"
    );
    assert!(
        receipt
            .types
            .iter()
            .all(|of| of.outcome == Some(TypeOutcome::Complete))
    );
}

#[tokio::test]
async fn a_file_with_fewer_lines_than_it_should_have_is_not_believed() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            overcounts: true,
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        (pulled.asked(KICK_OFF), pulled.asked("Observation?")),
        (1, 1)
    );
    assert_eq!(pulled.notes("Patient"), [("strategy_failed", 0)]);
}

#[tokio::test]
async fn files_without_a_type_are_as_good() {
    let scene = with(
        &record(),
        exporting(ExportKnobs {
            untyped: true,
            ..ExportKnobs::default()
        }),
    )
    .await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_by_export(&pulled);
}

#[tokio::test]
async fn a_broken_line_is_set_aside_alone() {
    let knobs = Knobs {
        breaks: [
            ("Observation/o-3".to_owned(), Break::BrokenJson),
            ("Observation/o-4".to_owned(), Break::DuplicateKey),
        ]
        .into(),
        ..Knobs::default()
    };
    let scene = with(&record(), knobs).await;
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    let counts = pulled.types["Observation"].counts;
    assert_eq!((counts.new, counts.rejected), (23, 2));
    assert!(counts.is_true());
    assert_eq!(
        pulled.notes("Observation"),
        [
            ("rejected_broken_json", 1),
            ("rejected_duplicate_key", 1),
            ("by_export", 23)
        ]
    );
}

#[tokio::test]
async fn others_in_an_export_are_not_taken() {
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
    assert_by_export(&pulled);
    assert_eq!(pulled.types["Condition"].counts.ignored, 1);
    assert!(pulled.notes("Condition").contains(&("of_others", 1)));
}

/// In an export that may hold others, what names nobody may be anybody's.
#[tokio::test]
async fn what_names_no_patient_is_searched_for_instead() {
    let scene = with(&record(), Knobs::default()).await;
    scene.portal().put(&observation("nobodys", ""));
    let pulled = scene.pull().await;
    assert_by_export(&pulled);
    // The row stays the patient's at the portal, and says it no more.
    scene
        .portal()
        .put(r#"{"resourceType":"Observation","id":"nobodys","status":"final"}"#);
    let pulled = scene.pull().await;
    scene.assert_whole().await;
    assert_eq!(
        (pulled.asked("Observation?"), pulled.asked("Condition?")),
        (1, 0)
    );
    assert!(pulled.notes("Observation").contains(&("of_others", 1)));
}

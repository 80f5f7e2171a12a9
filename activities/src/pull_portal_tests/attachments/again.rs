//! When a document is asked for: once, again, later, or not at all.

use std::time::Duration;

use db::{BackOff, SourceChange};
use model::{AttachmentPolicy, AttachmentState, RunState};
use sandbox::{Document, Knobs};

use super::{PDF, asked, at, binary, broken, counts, document, pair, status};
use crate::pull_portal_tests::scene::Scene;

#[tokio::test]
async fn a_document_is_asked_for_again_when_its_resource_changes_or_everything_is() {
    let [first, named] = pair("doc");
    let scene = Scene::new(&[first, named]).await;
    let etag = Document {
        etag: Some("W/\"1\"".to_owned()),
        ..Document::default()
    };
    scene.knobs(broken(&[("doc", etag)]));
    scene.pull().await;
    let before = scene.attachments().await["Binary/doc"].clone();
    assert_eq!(asked(&scene.pull().await), 0);

    // The source says that it is the same.
    let from = scene.portal().log().len();
    let full = scene.full_pull().await;
    assert_eq!((asked(&full), counts(&full).unchanged), (1, 1));
    assert!(scene.served(from).is_empty());
    let touched = document("doc", &format!("{},\"title\":\"x\"", at("Binary/doc")));
    scene.portal().put(&touched);
    let changed = scene.pull().await;
    assert_eq!((asked(&changed), counts(&changed).unchanged), (1, 1));
    let after = scene.attachments().await["Binary/doc"].clone();
    assert_eq!(
        (after.object, after.code),
        (before.object.clone(), before.code)
    );

    // It gives the same without a word, and then other bytes.
    scene.knobs(Knobs::default());
    let same = scene.full_pull().await;
    assert_eq!((asked(&same), counts(&same).unchanged), (1, 1));
    assert!(scene.strays().await.is_empty());
    scene.portal().put(&binary("doc", PDF, b"%PDF 2"));
    let newer = scene.full_pull().await;
    assert_eq!((counts(&newer).fetched, counts(&newer).size_bytes), (1, 6));
    let after = scene.attachments().await["Binary/doc"].clone();
    assert_eq!(scene.bytes(&after).await, b"%PDF 2");
    let superseded = scene
        .db()
        .superseded_objects(model::Timestamp(i64::MAX), 100)
        .await
        .unwrap();
    let old: Vec<String> = before.object.unwrap().pieces().collect();
    assert!(superseded.contains(&old[0]), "{superseded:?}");

    // A store that has lost its piece is given it again.
    let piece = after.object.unwrap().pieces().next().unwrap();
    scene.context.store.delete(&piece).await.unwrap();
    let report = scene.verified(false).await;
    let codes: Vec<&str> = report.findings.iter().map(|of| of.code).collect();
    assert_eq!(codes, ["attachment_missing"]);
    assert_eq!(counts(&scene.full_pull().await).fetched, 1);
    assert!(scene.verified(true).await.is_clean());
}

#[tokio::test]
async fn what_failed_is_tried_again_though_its_resource_is_not_served_again() {
    let mut scene = Scene::new(&pair("doc")).await;
    scene.context.limits.back_off = BackOff {
        first: Duration::from_secs(3600),
        max: Duration::from_secs(3600),
    };
    scene.knobs(broken(&[("doc", status(502, None))]));
    let failed = scene.pull().await;
    assert_eq!(
        failed.pull.error_code.as_deref(),
        Some("attachments_incomplete")
    );
    assert_eq!(scene.state_of("doc").await.0, AttachmentState::Failed);

    // It is left alone for a while, and is not forgotten.
    scene.portal().remove("DocumentReference", "doc");
    scene.knobs(Knobs::default());
    let waiting = scene.pull().await;
    assert_eq!((asked(&waiting), counts(&waiting).failed), (0, 1));
    assert_eq!(
        waiting.pull.error_code.as_deref(),
        Some("attachments_incomplete")
    );

    // Who asks for a retry does not wait.
    scene.db().retry_pull(waiting.pull.id).await.unwrap();
    let retried = scene.pull().await;
    assert_eq!((asked(&retried), counts(&retried).fetched), (1, 1));
    assert_eq!(retried.pull.state, RunState::Completed);
    let of = scene.attachments().await["Binary/doc"].clone();
    assert_eq!((of.attempts, of.not_before), (0, None));
}

#[tokio::test]
async fn a_source_that_is_down_fails_them_all_and_the_pull_goes_on() {
    let resources: Vec<String> = (0..9).flat_map(|n| pair(&format!("doc-{n}"))).collect();
    let mut scene = Scene::new(&resources).await;
    scene.context.limits.back_off = BackOff {
        first: Duration::ZERO,
        max: Duration::ZERO,
    };
    scene.knobs(Knobs {
        status_for_type: [("Binary".to_owned(), 502)].into(),
        ..Knobs::default()
    });
    let down = scene.pull().await;
    assert_eq!(counts(&down).failed, 9);
    assert_eq!(down.pull.state, RunState::Partial);
    assert!(
        scene
            .latest()
            .await
            .keys()
            .any(|key| key.0 == "DocumentReference")
    );
    assert!(asked(&down) < 40, "{}", asked(&down));
    scene.knobs(Knobs::default());
    let up = scene.pull().await;
    assert_eq!(
        (counts(&up).fetched, up.pull.state),
        (9, RunState::Completed)
    );
}

#[tokio::test]
async fn a_throttled_source_is_waited_for() {
    let scene = Scene::new(&pair("doc")).await;
    scene.knobs(broken(&[("doc", status(429, Some(2)))]));
    let pulled = scene.pull().await;
    assert_eq!((counts(&pulled).fetched, asked(&pulled)), (1, 3));
    assert_eq!(pulled.pull.state, RunState::Completed);
}

#[tokio::test]
async fn a_source_whose_documents_are_left_is_not_asked_for_them() {
    let scene = Scene::new(&pair("doc")).await;
    let source = scene.db().source("portal").await.unwrap().id;
    let policy = |policy| SourceChange {
        attachments: Some(policy),
        ..SourceChange::default()
    };
    let leave = policy(AttachmentPolicy::Leave);
    scene.db().change_source(source, leave).await.unwrap();
    let pulled = scene.pull().await;
    assert_eq!((asked(&pulled), pulled.pull.attachments), (0, None));
    assert!(scene.attachments().await.is_empty());
    // Its resource is known by then, and has not changed.
    let fetch = policy(AttachmentPolicy::Fetch);
    scene.db().change_source(source, fetch).await.unwrap();
    assert_eq!(counts(&scene.pull().await).fetched, 1);
}

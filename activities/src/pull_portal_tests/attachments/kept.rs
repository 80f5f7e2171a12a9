//! What the store keeps: the bytes that were served, up to a size, and nothing that no
//! row names.

use std::time::Duration;

use futures::TryStreamExt;
use model::{AttachmentState, RunState};
use sandbox::Document;
use steps::LookThroughRecords;

use super::{PDF, asked, at, binary, broken, counts, document, pair};
use crate::maintain_sweep_records;
use crate::pull_attachment_bytes::PIECE_BYTES;
use crate::pull_portal_tests::scene::Scene;

#[tokio::test]
async fn size_is_bounded_by_what_is_said_and_by_what_comes() {
    let large = vec![b'x'; 5_000];
    let resources = [
        binary("said", PDF, &large),
        document("said", &at("Binary/said")),
        binary("comes", PDF, &large),
        document("comes", &at("Binary/comes")),
    ];
    let mut scene = Scene::new(&resources).await;
    scene.context.limits.attachments.bytes_max = 4_999;
    let as_resource = Document {
        gives_resource: true,
        ..Document::default()
    };
    scene.knobs(broken(&[("comes", as_resource)]));
    let pulled = scene.pull().await;
    let too_large = |code: &str| (AttachmentState::TooLarge, Some(code.to_owned()));
    assert_eq!(scene.state_of("said").await, too_large("told_size"));
    assert_eq!(scene.state_of("comes").await, too_large("served_size"));
    assert_eq!(counts(&pulled).too_large, 2);
    assert_eq!(pulled.pull.state, RunState::Completed);
    assert!(scene.strays().await.is_empty());
    // Once the limit is higher they are had.
    assert_eq!(asked(&scene.pull().await), 0);
    scene.context.limits.attachments.bytes_max = 5_000;
    assert_eq!(counts(&scene.pull().await).fetched, 2);
}

#[tokio::test]
async fn a_large_document_is_kept_in_pieces_however_it_is_given() {
    let large: Vec<u8> = (0..2 * PIECE_BYTES + 77)
        .map(|at| (at % 253) as u8)
        .collect();
    let resources = [
        binary("raw", PDF, &large),
        document("raw", &at("Binary/raw")),
        binary("resource", PDF, &large),
        document("resource", &at("Binary/resource")),
    ];
    let scene = Scene::new(&resources).await;
    let as_resource = Document {
        refuses_bytes: true,
        ..Document::default()
    };
    scene.knobs(broken(&[("resource", as_resource)]));
    let from = scene.portal().log().len();
    scene.pull().await;
    let served = scene.served(from);
    assert_eq!(served.len(), 2);
    for (url, of) in scene.attachments().await {
        let object = of.object.clone().unwrap();
        assert_eq!(object.piece_count, 3, "{url}");
        assert!(served.iter().all(|of| of.sha256 == object.sha256), "{url}");
        assert!(scene.bytes(&of).await == large, "{url}");
    }
}

#[tokio::test]
async fn the_sweep_removes_what_no_row_names_and_nothing_else() {
    let mut scene = Scene::new(&pair("doc")).await;
    scene.pull().await;
    let maintain = &mut scene.context.limits.maintain;
    (maintain.orphan_age, maintain.superseded_age) = (Duration::ZERO, Duration::ZERO);
    let folder = format!("connections/{}/attachments", scene.connection);
    let orphan = model::ObjectKey::Attachment {
        connection: scene.connection,
        attachment: model::AttachmentId::new(),
        token: "cut-off".to_owned(),
        piece: 0,
    };
    let store = scene.context.store.clone();
    store.put_create(&orphan, "orphan").await.unwrap();
    assert_eq!(scene.strays().await, [orphan.to_string()]);
    assert!(scene.verified(true).await.is_clean());
    // While a pull is open it may be that pull's.
    let trigger = model::Trigger::Manual;
    let open = scene.db().request_pull(scene.connection, trigger);
    let open = open.await.unwrap();
    let all = LookThroughRecords { after: None };
    maintain_sweep_records::run(&scene.context, &all)
        .await
        .unwrap();
    assert_eq!(scene.strays().await.len(), 1);
    let ended = scene.db().end_pull(open, RunState::Cancelled, "cancelled");
    ended.await.unwrap();
    let swept = maintain_sweep_records::run(&scene.context, &all)
        .await
        .unwrap();
    assert_eq!((swept.removed, swept.unknown), (1, 0));
    let left: Vec<_> = store.list(&folder).try_collect().await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(scene.verified(true).await.is_clean());
}

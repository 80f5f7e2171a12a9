//! Attachments, on both databases.

use model::{
    AttachmentId, AttachmentState, ConnectionId, PullId, Timestamp, Trigger, content_hash,
};

use crate::testing::TestDb;
use crate::{
    Attachment, AttachmentObject, Db, Declared, Error, OpenAttachment, RunKind, StepClaim, StepRef,
};

crate::on_both!(
    what_is_saved_is_listed_and_named,
    a_step_that_was_cut_off_changes_no_attachment,
    bytes_that_are_replaced_stay_for_a_while,
);

struct Scene {
    db: Db,
    connection: ConnectionId,
    pull: PullId,
    step: StepRef,
    _database: TestDb,
}

impl Scene {
    async fn new(database: TestDb) -> Self {
        let db = database.db.clone();
        let connection = crate::testing::connection(&db).await;
        db.request_pull(connection, Trigger::Manual).await.unwrap();
        let pull = db.claim_pull(connection, "chain").await.unwrap().unwrap();
        let step = StepRef {
            kind: RunKind::Pull,
            run_id: pull.to_string(),
            name: "attachments".to_owned(),
        };
        Self {
            db,
            connection,
            pull,
            step,
            _database: database,
        }
    }

    async fn claim(&self) -> String {
        match self.db.claim_step::<u64>(&self.step).await.unwrap() {
            StepClaim::Mine { token, .. } => token,
            StepClaim::Done(_) => panic!("the step is done"),
        }
    }

    fn attachment(&self, url: &str, state: AttachmentState) -> OpenAttachment {
        let id = AttachmentId::new();
        OpenAttachment {
            of: Attachment {
                id,
                connection_id: self.connection,
                resource_type: "DocumentReference".to_owned(),
                state,
                code: Some("size_differs".to_owned()),
                attempts: 2,
                not_before: Some(Timestamp(7)),
                declared: Declared {
                    media_type: Some("application/pdf".to_owned()),
                    size_bytes: Some(9),
                    sha1: Some("qvTGHdzF6KLavt4PO0gs2a6pQ00=".to_owned()),
                },
                content_type: Some("text/plain".to_owned()),
                told_size_bytes: Some(8),
                object: Some(self.object(&id.to_string(), 2)),
                pull_id: self.pull,
                created_at: Timestamp(5),
                updated_at: Timestamp(0),
            },
            url: url.to_owned(),
            etag: Some("W/\"3\"".to_owned()),
        }
    }

    fn object(&self, name: &str, piece_count: u64) -> AttachmentObject {
        AttachmentObject {
            object_key: format!("connections/{}/attachments/{name}", self.connection),
            piece_count,
            size_bytes: 8,
            sha256: content_hash(name.as_bytes()).to_string(),
            fetched_at: Timestamp(6),
        }
    }

    async fn save(&self, token: &str, rows: &[OpenAttachment]) -> crate::Result<()> {
        self.db
            .save_attachments::<u64>(&self.step, token, b"progress", rows, None)
            .await
    }
}

async fn what_is_saved_is_listed_and_named(database: TestDb) {
    let scene = Scene::new(database).await;
    let token = scene.claim().await;
    let (fetched, mut failed) = (
        scene.attachment("Binary/1", AttachmentState::Fetched),
        scene.attachment("Binary/2", AttachmentState::Failed),
    );
    (failed.of.object, failed.etag) = (None, None);
    scene
        .save(&token, &[fetched.clone(), failed.clone()])
        .await
        .unwrap();

    let opened = scene.db.open_attachments(scene.connection).await.unwrap();
    assert_eq!(opened.len(), 2);
    for (saved, mut found) in [&fetched, &failed].into_iter().zip(opened) {
        assert!(found.of.updated_at > saved.of.updated_at);
        found.of.updated_at = saved.of.updated_at;
        assert!(found == *saved, "{found:?}");
        assert_eq!(
            format!("{found:?}"),
            format!("OpenAttachment({})", saved.of.id)
        );
    }

    let list = async |state, before, limit| -> Vec<AttachmentId> {
        let found = scene.db.attachments(scene.connection, state, before, limit);
        found.await.unwrap().iter().map(|of| of.id).collect()
    };
    let (first, second) = (fetched.of.id, failed.of.id);
    assert_eq!(list(None, None, 10).await, [second, first]);
    assert_eq!(list(None, Some(second), 10).await, [first]);
    assert_eq!(list(None, None, 1).await, [second]);
    assert_eq!(
        list(Some(AttachmentState::Fetched), None, 10).await,
        [first]
    );
    assert!(list(Some(AttachmentState::Gone), None, 10).await.is_empty());

    let pieces: Vec<String> = fetched.of.object.as_ref().unwrap().pieces().collect();
    assert!(pieces[1].ends_with(".001"), "{pieces:?}");
    let named = scene.db.named_objects(scene.connection).await.unwrap();
    let stored = scene.db.stored_names(scene.connection).await.unwrap();
    for piece in &pieces {
        assert!(named.contains(piece) && stored.as_ref().unwrap().named.contains(piece));
    }
    let objects = scene.db.attachment_objects(None, 10).await.unwrap();
    assert_eq!(objects, [(first, fetched.of.object.clone().unwrap())]);
    assert!(
        scene
            .db
            .attachment_objects(Some(first), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let one = scene.db.attachment(second).await.unwrap().unwrap();
    assert_eq!((one.state, one.object), (AttachmentState::Failed, None));
    assert!(
        scene
            .db
            .attachment(AttachmentId::new())
            .await
            .unwrap()
            .is_none()
    );

    // One row a URL: another under it is refused whole.
    let again = scene.attachment("Binary/1", AttachmentState::Gone);
    assert!(scene.save(&token, &[again]).await.is_err());
    assert_eq!(list(None, None, 10).await.len(), 2);
}

async fn a_step_that_was_cut_off_changes_no_attachment(database: TestDb) {
    let scene = Scene::new(database).await;
    let cut_off = scene.claim().await;
    let token = scene.claim().await;
    let row = scene.attachment("Binary/1", AttachmentState::Fetched);
    let lost = scene.save(&cut_off, std::slice::from_ref(&row)).await;
    assert!(matches!(lost, Err(Error::Lost)), "{lost:?}");
    let rows = scene.db.open_attachments(scene.connection).await.unwrap();
    assert!(rows.is_empty());
    let progress = scene.db.step_progress(&scene.step).await.unwrap();
    assert_eq!(progress, None);

    scene
        .db
        .save_attachments(&scene.step, &token, b"progress", &[row], Some(&7_u64))
        .await
        .unwrap();
    let done = scene.db.claim_step::<u64>(&scene.step).await.unwrap();
    assert!(matches!(done, StepClaim::Done(7)), "{done:?}");
    // Once the pull settles nothing is saved any more.
    scene.db.begin_settle(scene.pull).await.unwrap();
    let late = scene.save(&token, &[]).await;
    assert!(matches!(late, Err(Error::Lost)), "{late:?}");
}

async fn bytes_that_are_replaced_stay_for_a_while(database: TestDb) {
    let scene = Scene::new(database).await;
    let token = scene.claim().await;
    let mut row = scene.attachment("Binary/1", AttachmentState::Fetched);
    scene
        .save(&token, std::slice::from_ref(&row))
        .await
        .unwrap();
    // The same again supersedes nothing.
    scene
        .save(&token, std::slice::from_ref(&row))
        .await
        .unwrap();
    let now = Timestamp(i64::MAX);
    assert!(
        scene
            .db
            .superseded_objects(now, 10)
            .await
            .unwrap()
            .is_empty()
    );

    let before = row.of.object.replace(scene.object("newer", 1)).unwrap();
    scene
        .save(&token, std::slice::from_ref(&row))
        .await
        .unwrap();
    let mut superseded = scene.db.superseded_objects(now, 10).await.unwrap();
    superseded.sort();
    assert_eq!(superseded, before.pieces().collect::<Vec<_>>());
    let named = scene.db.named_objects(scene.connection).await.unwrap();
    assert_eq!(named.len(), 3, "{named:?}");
}

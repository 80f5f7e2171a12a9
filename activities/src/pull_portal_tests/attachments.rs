//! Attachments: what becomes of each, by what the source does; what is asked for again
//! and what is not; and that the store holds the bytes that were served, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db::{Attachment, BackOff, SourceChange};
use futures::TryStreamExt;
use model::{AttachmentCounts, AttachmentPolicy, AttachmentState, RunState};
use sandbox::{Document, Knobs, ServedBytes};
use steps::LookThroughRecords;

use super::scene::{Pulled, Scene, resource};
use crate::maintain_sweep_records;
use crate::pull_attachment_bytes::PIECE_BYTES;
use crate::verify::{Report, VerifyOptions, verify};

const PDF: &str = "application/pdf";

/// A Binary of these bytes.
fn binary(id: &str, content_type: &str, bytes: &[u8]) -> String {
    let data = data_encoding::BASE64.encode(bytes);
    format!(
        r#"{{"resourceType":"Binary","id":"{id}","contentType":"{content_type}","data":"{data}"}}"#
    )
}

/// A document of the patient's whose attachment has these members.
fn document(id: &str, attachment: &str) -> String {
    let content = format!(r#","content":[{{"attachment":{{{attachment}}}}}]"#);
    resource("DocumentReference", id, &content)
}

fn at(url: &str) -> String {
    format!(r#""contentType":"{PDF}","url":"{url}""#)
}

/// A Binary of a PDF and the document that names it.
fn pair(id: &str) -> [String; 2] {
    let bytes = format!("%PDF {id}");
    let place = at(&format!("Binary/{id}"));
    [binary(id, PDF, bytes.as_bytes()), document(id, &place)]
}

fn broken(of: &[(&str, Document)]) -> Knobs {
    let named = |(id, document): &(&str, Document)| ((*id).to_owned(), document.clone());
    Knobs {
        documents: of.iter().map(named).collect(),
        ..Knobs::default()
    }
}

fn status(status: u16, times: Option<u32>) -> Document {
    Document {
        status: Some(status),
        times,
        ..Document::default()
    }
}

impl Scene {
    /// The attachments by what the resources call them.
    async fn attachments(&self) -> BTreeMap<String, Attachment> {
        let found = self.db().open_attachments(self.connection).await.unwrap();
        found.into_iter().map(|of| (of.url, of.of)).collect()
    }

    async fn state_of(&self, id: &str) -> (AttachmentState, Option<String>) {
        let of = self.attachments().await.remove(&format!("Binary/{id}"));
        let of = of.unwrap();
        (of.state, of.code)
    }

    /// The bytes that are kept of one.
    async fn bytes(&self, of: &Attachment) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in of.object.as_ref().unwrap().pieces() {
            bytes.extend_from_slice(&self.context.store.get(&piece).await.unwrap());
        }
        bytes
    }

    /// What lies in the store beside the pieces that rows name.
    async fn strays(&self) -> Vec<String> {
        let folder = format!("connections/{}/attachments", self.connection);
        let found: Vec<_> = self
            .context
            .store
            .list(&folder)
            .try_collect()
            .await
            .unwrap();
        let named = self.db().named_objects(self.connection).await.unwrap();
        let names = found.into_iter().map(|object| object.object);
        names.filter(|name| !named.contains(name)).collect()
    }

    /// The documents that were served since the log had `from` entries.
    fn served(&self, from: usize) -> Vec<ServedBytes> {
        let log = self.portal().log().split_off(from);
        log.into_iter().filter_map(|entry| entry.bytes).collect()
    }

    async fn verified(&self, bodies: bool) -> Report {
        let context = &self.context;
        let options = VerifyOptions { bodies };
        verify(&context.db, &context.store, &context.destinations, &options)
            .await
            .unwrap()
    }
}

fn counts(pulled: &Pulled) -> AttachmentCounts {
    let counts = pulled.pull.attachments.unwrap();
    assert!(counts.is_true(), "{counts:?}");
    counts
}

fn asked(pulled: &Pulled) -> usize {
    pulled.asked("Binary/")
}

/// A document that is not given as it should be.
fn odd(change: impl FnOnce(&mut Document)) -> Document {
    let mut document = Document::default();
    change(&mut document);
    document
}

/// Name, what its resource says beside, what is wrong with it; and how it ends.
type Case = (
    &'static str,
    &'static str,
    Document,
    AttachmentState,
    Option<&'static str>,
);

fn cases() -> [Case; 14] {
    use AttachmentState as S;
    let size = r#","size":7"#;
    let hash = r#","size":7,"hash":"qvTGHdzF6KLavt4PO0gs2a6pQ00=""#;
    let typed = |name: &str| odd(|of| of.content_type = Some(name.to_owned()));
    let nothing = odd(|of| (of.refuses_bytes, of.refuses_resource) = (true, true));
    let away = "https://files.example.net/away.pdf";
    let away = odd(|of| of.redirects_to = Some(away.to_owned()));
    [
        ("raw", "", Document::default(), S::Fetched, None),
        (
            "resource",
            "",
            odd(|of| of.refuses_bytes = true),
            S::Fetched,
            None,
        ),
        (
            "unasked",
            "",
            odd(|of| of.gives_resource = true),
            S::Fetched,
            None,
        ),
        ("nothing", "", nothing, S::Refused, Some("refused")),
        (
            "size",
            size,
            Document::default(),
            S::Fetched,
            Some("size_differs"),
        ),
        (
            "hash",
            hash,
            Document::default(),
            S::Fetched,
            Some("hash_differs"),
        ),
        (
            "html",
            "",
            typed("text/html;charset=utf-8"),
            S::Fetched,
            Some("type_differs"),
        ),
        (
            "octets",
            "",
            typed("application/octet-stream"),
            S::Fetched,
            None,
        ),
        (
            "zip",
            "",
            typed("application/zip"),
            S::TypeNotAllowed,
            Some("served_type"),
        ),
        (
            "forbidden",
            "",
            status(403, None),
            S::Refused,
            Some("refused"),
        ),
        (
            "unauthorized",
            "",
            status(401, None),
            S::Refused,
            Some("unauthorized"),
        ),
        (
            "failing",
            "",
            status(500, None),
            S::Failed,
            Some("source_failed"),
        ),
        (
            "cut",
            "",
            odd(|of| of.cut_after = Some(3)),
            S::Failed,
            Some("source_unavailable"),
        ),
        ("away", "", away, S::Elsewhere, Some("other_origin")),
    ]
}

#[tokio::test]
async fn each_attachment_ends_as_the_source_has_it() {
    use AttachmentState as S;
    let cases = cases();
    let mut resources = Vec::new();
    for (id, more, ..) in &cases {
        resources.push(binary(id, PDF, format!("%PDF {id}").as_bytes()));
        let attachment = format!("{}{more}", at(&format!("Binary/{id}")));
        resources.push(document(id, &attachment));
    }
    let scene = Scene::new(&resources).await;
    let knobs = cases.iter().map(|(id, _, knobs, ..)| (*id, knobs.clone()));
    scene.knobs(broken(&knobs.collect::<Vec<_>>()));
    let pulled = scene.pull().await;

    for (id, _, _, state, code) in &cases {
        let expected = (*state, code.map(str::to_owned));
        assert_eq!(scene.state_of(id).await, expected, "{id}");
    }
    for (url, of) in scene.attachments().await {
        let kept = of.object.is_some().then_some(());
        assert_eq!(kept.is_some(), of.state == S::Fetched, "{url}");
        if of.object.is_some() {
            let expected = format!("%PDF {}", url.trim_start_matches("Binary/"));
            assert_eq!(scene.bytes(&of).await, expected.as_bytes(), "{url}");
        }
    }
    let counts = counts(&pulled);
    assert_eq!((counts.found, counts.fetched, counts.failed), (14, 7, 2));
    assert_eq!(
        (counts.refused, counts.elsewhere, counts.type_not_allowed),
        (3, 1, 1)
    );
    assert_eq!(pulled.pull.state, RunState::Partial);
    assert_eq!(
        pulled.pull.error_code.as_deref(),
        Some("attachments_incomplete")
    );
    assert_eq!(pulled.end("DocumentReference"), ("complete", None));
    assert!(scene.strays().await.is_empty());
    let clean = scene.verified(true).await;
    assert!(clean.is_clean(), "{:?}", clean.findings);
    assert_eq!(clean.checked.attachments, 7);
}

#[tokio::test]
async fn what_is_not_at_the_source_is_not_asked_for_and_tells_of_no_failure() {
    use AttachmentState as S;
    let mut resources = vec![
        document("gone", &at("Binary/gone")),
        document("foreign", &at("https://files.example.net/dummy.pdf")),
        document("urn", &at("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0")),
        document("inline", r#""contentType":"text/plain","data":"aGVsbG8=""#),
        document("data", &at("data:application/pdf;base64,aGVsbG8=")),
        document(
            "zip",
            r#""contentType":"application/zip","url":"Binary/zip""#,
        ),
        binary("zip", "application/zip", b"PK"),
        binary("bare", "text/plain", b"bare"),
    ];
    let form = r#","presentedForm":[{"url":"Binary/deleted"},{"url":"Binary/bare"}]"#;
    resources.push(resource("DiagnosticReport", "report", form));
    resources.push(resource(
        "Media",
        "media",
        r#","content":{"url":"Binary/bare"}"#,
    ));
    resources.push(binary("deleted", PDF, b"x"));
    let scene = Scene::new(&resources).await;
    scene.portal().remove("Binary", "deleted");
    let pulled = scene.pull().await;

    let found = scene.attachments().await;
    let states: BTreeMap<&str, (S, Option<&str>)> = found
        .iter()
        .map(|(url, of)| (url.as_str(), (of.state, of.code.as_deref())))
        .collect();
    let expected = BTreeMap::from([
        ("Binary/gone", (S::Gone, Some("not_found"))),
        ("Binary/deleted", (S::Gone, Some("deleted"))),
        ("Binary/bare", (S::Fetched, None)),
        ("Binary/zip", (S::TypeNotAllowed, Some("declared_type"))),
        (
            "https://files.example.net/dummy.pdf",
            (S::Elsewhere, Some("other_origin")),
        ),
        (
            "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
            (S::Elsewhere, Some("no_url")),
        ),
    ]);
    assert_eq!(states, expected);
    assert_eq!(pulled.pull.state, RunState::Completed, "{:?}", pulled.pull);
    let asked: BTreeSet<&str> = pulled
        .asked
        .iter()
        .filter_map(|path| path.strip_prefix("Binary/"))
        .collect();
    assert_eq!(asked, BTreeSet::from(["bare", "deleted", "gone"]));
    assert_eq!(
        found["Binary/bare"].content_type.as_deref(),
        Some("text/plain")
    );

    // Nothing has changed: the next pull tells the same, and asks nobody.
    let again = scene.pull().await;
    let unchanged = AttachmentCounts {
        fetched: 0,
        size_bytes: 0,
        unchanged: 1,
        ..counts(&pulled)
    };
    assert_eq!(counts(&again), unchanged);
    assert_eq!(super::attachments::asked(&again), 0);
}

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

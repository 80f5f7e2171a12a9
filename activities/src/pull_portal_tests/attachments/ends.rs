//! How each attachment ends, by what its resource says of it and what the source does.

use std::collections::{BTreeMap, BTreeSet};

use model::{AttachmentCounts, AttachmentState, RunState};
use sandbox::Document;

use super::{PDF, at, binary, broken, counts, document, status};
use crate::pull_portal_tests::scene::{Scene, resource};

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
    assert_eq!(super::asked(&again), 0);
}

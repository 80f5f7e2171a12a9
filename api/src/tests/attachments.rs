//! Attachments: the policy of a source, and the list of a connection's.

use db::{Attachment, AttachmentObject, Declared, OpenAttachment, RunKind, StepClaim, StepRef};
use model::{AttachmentId, AttachmentState, ConnectionId, Timestamp, Trigger};
use serde_json::json;

use super::{Server, assert_problem};

#[tokio::test]
async fn a_policy_is_chosen_when_a_source_is_added_and_later() {
    let server = Server::start().await;
    let plain = json!({ "name": "a", "base_url": "https://ehr.example/a" });
    let plain = server.post("/v1/sources", &plain).await.is(201);
    assert_eq!(plain.body["attachments"], "fetch");
    let leave = json!({ "name": "b", "base_url": "https://ehr.example/b", "attachments": "leave" });
    let leave = server.post("/v1/sources", &leave).await.is(201);
    assert_eq!(leave.body["attachments"], "leave");

    let path = format!("/v1/sources/{}", leave.id());
    let other = json!({ "requests_per_second": 7 });
    let other = server.patch(&path, &other).await.is(200);
    assert_eq!(other.body["attachments"], "leave");
    let change = json!({ "attachments": "fetch" });
    let changed = server.patch(&path, &change).await.is(200);
    assert_eq!(changed.body["attachments"], "fetch");
    let wrong = json!({ "attachments": "some" });
    assert_problem(&server.patch(&path, &wrong).await, 422, "invalid_value");
}

/// Saves attachments of these states as a pull would; returns their ids.
async fn save(
    server: &Server,
    connection: ConnectionId,
    states: &[AttachmentState],
) -> Vec<String> {
    let db = &server.db;
    db.request_pull(connection, Trigger::Manual).await.unwrap();
    let pull_id = db.claim_pull(connection, "chain").await.unwrap().unwrap();
    let step = StepRef {
        kind: RunKind::Pull,
        run_id: pull_id.to_string(),
        name: "attachments".to_owned(),
    };
    let StepClaim::Mine { token, .. } = db.claim_step::<()>(&step).await.unwrap() else {
        panic!("the step is new");
    };
    let row = |state: &AttachmentState| OpenAttachment {
        of: Attachment {
            id: AttachmentId::new(),
            connection_id: connection,
            resource_type: "Media".to_owned(),
            state: *state,
            code: None,
            attempts: 0,
            not_before: None,
            declared: Declared::default(),
            content_type: Some("text/plain".to_owned()),
            told_size_bytes: None,
            object: (*state == AttachmentState::Fetched).then(|| AttachmentObject {
                object_key: "somewhere".to_owned(),
                piece_count: 1,
                size_bytes: 5,
                sha256: "ab".to_owned(),
                fetched_at: Timestamp::now(),
            }),
            pull_id,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        },
        url: format!("Binary/SECRET-{}", AttachmentId::new()),
        etag: Some("SECRET".to_owned()),
    };
    let rows: Vec<OpenAttachment> = states.iter().map(row).collect();
    db.save_attachments::<()>(&step, &token, b"", &rows, None)
        .await
        .unwrap();
    rows.iter().map(|row| row.of.id.to_string()).collect()
}

#[tokio::test]
async fn attachments_are_listed_by_state_page_by_page_without_their_urls() {
    use AttachmentState as S;
    let server = Server::start().await;
    let connection = server.connection(0).await;
    let path = format!("/v1/connections/{connection}/attachments");
    let none = server.get(&path).await.is(200);
    assert_eq!(none.body["data"], json!([]));
    let ids = save(&server, connection, &[S::Fetched, S::Failed, S::Fetched]).await;

    let all = server.get(&path).await.is(200);
    assert!(!all.text.contains("SECRET") && !all.text.contains("somewhere"));
    let listed = |reply: &super::Reply| -> Vec<String> {
        let data = reply.body["data"].as_array().unwrap();
        let ids = data.iter().map(|of| of["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(&all), newest_first);
    assert_eq!(all.body["data"][0]["size_bytes"], 5);
    assert!(all.body["data"][1]["sha256"].is_null());

    let first = format!("{path}?state=fetched&limit=1");
    let first = server.get(&first).await.is(200);
    assert_eq!(listed(&first), [ids[2].clone()]);
    assert!(first.header("link").unwrap().contains("state=fetched"));
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let next = server
        .get(&format!("{path}?state=fetched&limit=1&cursor={cursor}"))
        .await
        .is(200);
    assert_eq!(listed(&next), [ids[0].clone()]);
    assert_eq!(next.body["has_more"], false);

    let unknown = server.get(&format!("{path}?state=lost")).await;
    assert_problem(&unknown, 400, "invalid_parameter");
    let stranger = format!("/v1/connections/{}/attachments", ConnectionId::new());
    assert_problem(&server.get(&stranger).await, 404, "not_found");
}

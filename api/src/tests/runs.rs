//! Registering, starting and ending.

use std::time::{Duration, Instant};

use model::{PullId, RunState};
use reqwest::Method;
use serde_json::json;

use super::{JsonBody, Server, assert_problem, send};

#[tokio::test]
async fn the_whole_job_is_asked_for_over_http() {
    let server = Server::start().await;
    let source =
        json!({"name": "clinic", "base_url": "https://ehr.example/fhir", "auth": "bearer"});
    let source = server.post("/v1/sources", &source).await.is(201);
    assert_eq!(source.body["identity"], "ehr.example/fhir");
    let patient = server
        .post("/v1/patients", &json!({"external_id": "p"}))
        .await
        .is(201);
    let connection = json!({
        "patient_id": patient.id(), "source_id": source.id(),
        "source_patient_id": "canary-patient", "token": "canary-token",
    });
    let connection = server.post("/v1/connections", &connection).await.is(201);
    assert!(!connection.text.contains("canary"));
    let location = connection.header("location").unwrap().to_owned();
    assert_eq!(server.get(&location).await.is(200).text, connection.text);

    let start = json!({"connection_id": connection.id()});
    let pull = server.post("/v1/pulls", &start).await.is(202);
    assert_eq!(pull.body["state"], "queued");
    let joined = server.post("/v1/pulls", &start).await.is(202);
    assert_eq!(joined.id(), pull.id());
    let path = format!("/v1/pulls/{}", pull.id());
    let cancelled = server
        .post(&format!("{path}/cancel?wait=5"), &json!({}))
        .await
        .is(202);
    assert_eq!(cancelled.body["state"], "cancelled");
    let again = server.post(&format!("{path}/cancel"), &json!({})).await;
    assert_problem(&again, 409, "conflict");
    let retry = server
        .post(&format!("{path}/retry"), &json!({}))
        .await
        .is(202);
    assert_eq!(retry.body["retry_of"], pull.id());
    let held = server
        .post(&format!("{path}/held/accept"), &json!({}))
        .await;
    assert_problem(&held, 409, "conflict");

    let lake = server.tested_lake().await;
    let start = json!({"destination_id": lake.id(), "full": true});
    let export = server.post("/v1/exports", &start).await.is(202);
    assert_eq!(export.body["full"], true);
    let path = format!("/v1/exports/{}/cancel", export.id());
    let cancelled = server.post(&path, &json!({})).await.is(202);
    assert_eq!(cancelled.body["state"], "cancelled");
}

#[tokio::test]
async fn a_connection_that_is_given_up_loses_its_token_and_is_not_pulled() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let path = format!("/v1/connections/{connection}/revoke");
    let revoked = server.post(&path, &json!({})).await.is(200);
    assert_eq!(revoked.body["status"], "revoked");
    assert_eq!(server.db.connection(connection).await.unwrap().token, None);
    let start = json!({"connection_id": connection});
    assert_problem(&server.post("/v1/pulls", &start).await, 409, "conflict");
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_not_changed_blindly() {
    let server = Server::start().await;
    let lake = server.tested_lake().await;
    let path = format!("/v1/destinations/{}", lake.id());
    let change = async |tag: &str, enabled: bool| {
        let request = server
            .request(Method::PATCH, &path)
            .bearer_auth(&server.key);
        send(
            request
                .header("if-match", tag)
                .json(&json!({"enabled": enabled})),
        )
        .await
    };
    let tag = lake.header("etag").unwrap();
    let changed = change(tag, false).await.is(200);
    assert_eq!(changed.body["enabled"], false);
    assert_problem(&change(tag, true).await, 412, "precondition_failed");
    change(changed.header("etag").unwrap(), true).await.is(200);
    change("*", false).await.is(200);
    let start = json!({"destination_id": lake.id()});
    assert_problem(&server.post("/v1/exports", &start).await, 409, "conflict");
}

#[tokio::test]
async fn waiting_ends_with_the_run() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let start = json!({"connection_id": connection});
    let pull = server.post("/v1/pulls", &start).await.is(202);
    let id: PullId = pull.id().parse().unwrap();
    let asked = Instant::now();
    let path = format!("/v1/pulls/{id}?wait=20");
    let (answer, ended) = tokio::join!(
        server.get(&path),
        server.db.end_pull(id, RunState::Failed, "gone")
    );
    ended.unwrap();
    assert_eq!(answer.is(200).body["state"], "failed");
    assert!(asked.elapsed() < Duration::from_secs(15));
}

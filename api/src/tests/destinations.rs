//! Destinations: their tests, their changes and their end; exports of some patients.

use model::{Check, CheckResult, ProbeReport, Rehearsal, RunState, Verdict};
use reqwest::Method;
use serde_json::json;

use super::{JsonBody, Server, assert_problem, send};

#[tokio::test]
async fn a_destination_that_fails_its_test_is_stored_disabled_with_the_verdict() {
    let server = Server::start().await;
    let lake = json!({"name": "lake", "location": "/data/lake", "format": "parquet"});
    let lake = server.post("/v1/destinations", &lake).await.is(201);
    assert_eq!(
        (&lake.body["enabled"], &lake.body["awaits_test"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(lake.body["test"]["state"], "queued");
    let path = format!("/v1/destinations/{}", lake.id());
    // Who asks for a test while one is open is told of that.
    let test = server
        .post(&format!("{path}/test"), &json!({}))
        .await
        .is(202);
    assert_eq!(test.body["id"], lake.body["test"]["id"]);
    let probe = test.header("location").unwrap().to_owned();

    let report = ProbeReport {
        checks: vec![CheckResult {
            check: Check::Delete,
            verdict: Verdict::Failed,
            error_code: Some("destination_denied".to_owned()),
            message: Some("it may not".to_owned()),
        }],
        rehearsal: None,
    };
    let id = test.id().parse().unwrap();
    let waiting = format!("{probe}?wait=20");
    let (told, ended) = tokio::join!(
        server.get(&waiting),
        server.db.end_probe(id, &report, Some("destination_denied"))
    );
    ended.unwrap();
    assert_eq!(told.is(200).body["checks"][0]["check"], "delete");
    let lake = server.get(&path).await.is(200);
    assert_eq!(lake.body["enabled"], false);
    assert_eq!(lake.body["test"]["error_code"], "destination_denied");
    let enable = server
        .request(Method::PATCH, &path)
        .bearer_auth(&server.key);
    let enable = send(enable.json(&json!({"enabled": true}))).await;
    assert_problem(&enable, 409, "conflict");
    let start = json!({"destination_id": lake.id()});
    assert_problem(&server.post("/v1/exports", &start).await, 409, "conflict");

    // Mended, and tested again.
    let test = server
        .post(&format!("{path}/test"), &json!({}))
        .await
        .is(202);
    let report = ProbeReport::default();
    server
        .db
        .end_probe(test.id().parse().unwrap(), &report, None)
        .await
        .unwrap();
    let lake = server.get(&path).await.is(200);
    assert_eq!(
        (&lake.body["enabled"], &lake.body["awaits_test"]),
        (&json!(true), &json!(false))
    );
    server.post("/v1/exports", &start).await.is(202);
}

#[tokio::test]
async fn a_rehearsal_tells_its_figures() {
    let server = Server::start().await;
    let lake = server.tested_lake().await;
    let path = format!("/v1/destinations/{}/rehearse", lake.id());
    let asked = server.post_once(&path, &json!({}), "once").await.is(202);
    let again = server.post_once(&path, &json!({}), "once").await.is(202);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let report = ProbeReport {
        rehearsal: Some(Rehearsal {
            patients: 2,
            resources: 7,
            ..Rehearsal::default()
        }),
        ..ProbeReport::default()
    };
    server
        .db
        .end_probe(asked.id().parse().unwrap(), &report, None)
        .await
        .unwrap();
    let told = server.get(asked.header("location").unwrap()).await.is(200);
    assert_eq!(
        (&told.body["kind"], &told.body["state"]),
        (&json!("rehearsal"), &json!("completed"))
    );
    assert_eq!(told.body["rehearsal"]["resources"], 7);
}

#[tokio::test]
async fn what_may_change_of_a_destination_changes_and_its_key_is_never_shown() {
    let server = Server::start().await;
    let lake = server.tested_lake().await;
    let path = format!("/v1/destinations/{}", lake.id());
    let change = async |body| {
        let request = server
            .request(Method::PATCH, &path)
            .bearer_auth(&server.key);
        send(request.json(&body)).await
    };
    let key = json!({"access_key_id": "canary-id", "secret_access_key": "canary-key"});
    let changed = change(json!({"name": "pond", "credentials": key}))
        .await
        .is(200);
    assert_eq!(changed.body["name"], "pond");
    assert_eq!(changed.body["test"]["state"], "queued");
    assert!(!changed.text.contains("canary"), "{}", changed.text);
    let id = lake.id().parse().unwrap();
    let kept = server
        .db
        .destination_credentials(id)
        .await
        .unwrap()
        .unwrap();
    assert!(kept.contains("canary-key"));
    for fixed in ["location", "format"] {
        assert_problem(&change(json!({fixed: "other"})).await, 422, "invalid_value");
    }
    let empty = change(json!({"name": ""})).await;
    assert_eq!(empty.status, 422, "{}", empty.text);
}

#[tokio::test]
async fn a_destination_is_deleted_when_nothing_runs() {
    let server = Server::start().await;
    let lake = server.tested_lake().await;
    let path = format!("/v1/destinations/{}", lake.id());
    let delete = async || {
        send(
            server
                .request(Method::DELETE, &path)
                .bearer_auth(&server.key),
        )
        .await
    };
    let start = json!({"destination_id": lake.id()});
    let export = server.post("/v1/exports", &start).await.is(202);
    assert_problem(&delete().await, 409, "conflict");
    let cancel = format!("/v1/exports/{}/cancel", export.id());
    server.post(&cancel, &json!({})).await.is(202);
    delete().await.is(204);
    for gone in [path.clone(), format!("/v1/exports/{}", export.id())] {
        assert_problem(&server.get(&gone).await, 404, "not_found");
    }
    assert_problem(&delete().await, 404, "not_found");
}

#[tokio::test]
async fn an_export_names_the_patients_it_is_for_and_tells_its_errors() {
    let server = Server::start().await;
    let lake = server.tested_lake().await;
    let connection = server.connection(1).await;
    let connection = server.db.connection(connection).await.unwrap();
    let patient = connection.summary.patient_id;
    let mut start = json!({"destination_id": lake.id(), "patients": [patient]});
    let export = server.post("/v1/exports", &start).await.is(202);
    assert_eq!(export.body["patient_ids"], json!([patient]));
    let path = format!("/v1/exports/{}/errors", export.id());
    assert_eq!(server.get(&path).await.is(200).body["data"], json!([]));
    start["full"] = json!(true);
    let both = server.post("/v1/exports", &start).await;
    assert_problem(&both, 422, "invalid_value");
    let none = json!({"destination_id": lake.id(), "patients": []});
    assert_problem(
        &server.post("/v1/exports", &none).await,
        422,
        "invalid_value",
    );
    let alone = server.patient("alone").await;
    let alone = json!({"destination_id": lake.id(), "patients": [alone]});
    assert_problem(&server.post("/v1/exports", &alone).await, 409, "conflict");
    let unknown = json!({"destination_id": lake.id(), "patients": [model::PatientId::new()]});
    assert_problem(
        &server.post("/v1/exports", &unknown).await,
        404,
        "not_found",
    );
    assert_eq!(
        server
            .db
            .export(export.id().parse().unwrap())
            .await
            .unwrap()
            .state,
        RunState::Queued
    );
}

//! What a source is to bear, and what it is asked at the moment.

use std::time::Duration;

use model::SourceId;
use serde_json::{Value, json};

use super::{Server, assert_problem};

fn source(limits: &Value) -> Value {
    let mut body = json!({"name": "clinic", "base_url": "https://ehr.example/fhir"});
    let members = limits.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    body
}

#[tokio::test]
async fn limits_are_set_shown_and_lifted() {
    let server = Server::start().await;
    let limits =
        json!({"requests_per_second": 20, "concurrent_requests": 4, "concurrent_pulls": 2});
    let added = server.post("/v1/sources", &source(&limits)).await.is(201);
    for (name, limit) in limits.as_object().unwrap() {
        assert_eq!(&added.body[name], limit, "{name}");
    }
    assert_eq!(added.body["effective_requests_per_second"], 20.0);
    assert_eq!(added.body["held_until"], Value::Null);
    let path = format!("/v1/sources/{}", added.id());
    // What is left out stays.
    let changed = server
        .patch(&path, &json!({"concurrent_pulls": 5}))
        .await
        .is(200);
    assert_eq!(changed.body["concurrent_pulls"], 5);
    assert_eq!(changed.body["concurrent_requests"], 4);
    let lifted =
        json!({"requests_per_second": null, "concurrent_requests": null, "concurrent_pulls": null});
    let lifted = server.patch(&path, &lifted).await.is(200);
    for name in limits.as_object().unwrap().keys() {
        assert_eq!(lifted.body[name], Value::Null, "{name}");
    }
    assert_eq!(lifted.body["effective_requests_per_second"], Value::Null);
}

#[tokio::test]
async fn a_limit_is_a_whole_number_within_bounds() {
    let server = Server::start().await;
    let added = server
        .post("/v1/sources", &source(&json!({})))
        .await
        .is(201);
    let path = format!("/v1/sources/{}", added.id());
    for name in [
        "requests_per_second",
        "concurrent_requests",
        "concurrent_pulls",
    ] {
        for limit in [0, 1001] {
            let limits = json!({ name: limit });
            let refused = server.post("/v1/sources", &source(&limits)).await;
            assert_problem(&refused, 422, "invalid_value");
            let refused = server.patch(&path, &limits).await;
            assert_problem(&refused, 422, "invalid_value");
            assert!(refused.text.contains(name), "{}", refused.text);
        }
        let refused = server.patch(&path, &json!({ name: 1.5 })).await;
        assert_problem(&refused, 422, "invalid_value");
    }
}

#[tokio::test]
async fn what_throttling_has_left_is_shown_until_the_rate_is_set_again() {
    let server = Server::start().await;
    let limits = json!({"requests_per_second": 50});
    let added = server.post("/v1/sources", &source(&limits)).await.is(201);
    let id: SourceId = added.id().parse().unwrap();
    let told = db::Throttled {
        limit: Some(50),
        asked_per_second: 50,
        hold: Duration::from_secs(60),
    };
    server.db.throttle(&id.to_string(), &told).await.unwrap();
    let path = format!("/v1/sources/{id}");
    let shown = server.get(&path).await.is(200);
    assert_eq!(shown.body["requests_per_second"], 50);
    assert_eq!(shown.body["effective_requests_per_second"], 35.0);
    assert!(shown.body["held_until"].is_string(), "{}", shown.text);
    let listed = server.get("/v1/sources").await.is(200);
    assert_eq!(listed.body["data"][0], shown.body);
    let again = server.patch(&path, &limits).await.is(200);
    assert_eq!(again.body["effective_requests_per_second"], 50.0);
    assert_eq!(again.body["held_until"], Value::Null);
}

#[tokio::test]
async fn a_queued_pull_says_what_it_waits_for() {
    let server = Server::start().await;
    let (first, second) = (server.connection(1).await, server.connection(2).await);
    let mut pulls = Vec::new();
    for connection in [first, second] {
        let start = json!({ "connection_id": connection });
        pulls.push(server.post("/v1/pulls", &start).await.is(202));
    }
    assert_eq!(
        pulls[1].body["queue"],
        json!({"ahead": 1, "at_work": 0, "behind": null})
    );
    server.db.claim_pull(first, "w").await.unwrap();
    let path = |at: usize| format!("/v1/pulls/{}", pulls[at].id());
    let queued = server.get(&path(1)).await.is(200);
    assert_eq!(
        queued.body["queue"],
        json!({"ahead": 0, "at_work": 1, "behind": null})
    );
    assert_eq!(
        server.get(&path(0)).await.is(200).body["queue"],
        Value::Null
    );
    let start = json!({ "connection_id": first });
    let next = server.post("/v1/pulls", &start).await.is(202);
    assert_eq!(next.body["queue"]["behind"], json!(pulls[0].id()));
}

#[tokio::test]
async fn types_are_chosen_and_all_are_asked_for_again() {
    let server = Server::start().await;
    let first = json!({"types": ["Goal"], "pull_interval_s": 3600});
    let added = server.post("/v1/sources", &source(&first)).await.is(201);
    assert_eq!(added.body["types"], first["types"]);
    assert_eq!(added.body["pull_interval_s"], 3600);
    let path = format!("/v1/sources/{}", added.id());
    let chosen = json!({"types": ["Condition", "Observation"]});
    let changed = server.patch(&path, &chosen).await.is(200);
    assert_eq!(changed.body["types"], chosen["types"]);
    // What is left out stays.
    let changed = server
        .patch(&path, &json!({"concurrent_pulls": 5}))
        .await
        .is(200);
    assert_eq!(changed.body["types"], chosen["types"]);
    for wrong in [
        json!([]),
        json!(["condition"]),
        json!(["Condition", "../x"]),
        json!([""]),
        json!(vec!["Goal"; 201]),
    ] {
        let types = json!({ "types": wrong });
        for refused in [
            server.patch(&path, &types).await,
            server.post("/v1/sources", &source(&types)).await,
        ] {
            assert_problem(&refused, 422, "invalid_value");
            assert!(refused.text.contains("types"), "{}", refused.text);
        }
    }
    let lifted = server.patch(&path, &json!({"types": null})).await.is(200);
    assert_eq!(lifted.body["types"], Value::Null);
}

//! How often connections are pulled by themselves.

use reqwest::Method;
use serde_json::{Value, json};

use super::{JsonBody, Server, assert_problem, send};

#[tokio::test]
async fn a_source_has_an_interval_and_a_connection_may_have_its_own() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let source = server.db.source("clinic").await.unwrap().id;
    let (source, connection) = (
        format!("/v1/sources/{source}"),
        format!("/v1/connections/{connection}"),
    );
    let every = |interval: Value| json!({ "pull_interval_s": interval });
    let fresh = server.get(&connection).await.is(200);
    assert_eq!(fresh.body["next_pull_at"], Value::Null);
    let changed = server.patch(&source, &every(json!(86_400))).await.is(200);
    assert_eq!(changed.body["pull_interval_s"], 86_400);
    let daily = server.get(&connection).await.is(200);
    assert!(daily.body["next_pull_at"].is_string());
    assert_eq!(daily.body["pull_interval_s"], Value::Null);

    let hourly = server
        .patch(&connection, &every(json!(3_600)))
        .await
        .is(200);
    assert_eq!(hourly.body["pull_interval_s"], 3_600);
    assert!(hourly.body["next_pull_at"].as_str() < daily.body["next_pull_at"].as_str());
    let unchanged = server.patch(&connection, &json!({})).await.is(200);
    assert_eq!(unchanged.text, hourly.text);
    let never = server.patch(&connection, &every(json!(0))).await.is(200);
    assert_eq!(never.body["pull_interval_s"], 0);
    assert_eq!(never.body["next_pull_at"], Value::Null);
    let again = server.patch(&connection, &every(Value::Null)).await.is(200);
    assert_eq!(again.text, daily.text);

    for wrong in [
        json!(1),
        json!(899),
        json!(7_776_001),
        json!(-900),
        json!("1h"),
    ] {
        for path in [&source, &connection] {
            let refused = server.patch(path, &every(wrong.clone())).await;
            assert_problem(&refused, 422, "invalid_value");
        }
    }
    let refused = server.patch(&source, &every(json!(0))).await;
    assert_problem(&refused, 422, "invalid_value");

    // Only as it was seen.
    let late = server
        .request(Method::PATCH, &connection)
        .bearer_auth(&server.key)
        .header("if-match", never.header("etag").unwrap())
        .json(&every(json!(3_600)));
    assert_problem(&send(late).await, 412, "precondition_failed");
    let stopped = server.patch(&source, &every(Value::Null)).await.is(200);
    assert_eq!(stopped.body["pull_interval_s"], Value::Null);
    let fresh_again = server.get(&connection).await.is(200);
    assert_eq!(fresh_again.text, fresh.text);
}

#[tokio::test]
async fn a_pull_may_ask_for_everything() {
    let server = Server::start().await;
    let connection = server.connection(1).await.to_string();
    let pull = server
        .post("/v1/pulls", &json!({ "connection_id": connection }))
        .await
        .is(202);
    assert_eq!(pull.body["full"], false);
    let full = json!({ "connection_id": connection, "full": true });
    let joined = server.post("/v1/pulls", &full).await.is(202);
    assert_eq!(joined.id(), pull.id());
    assert_eq!(joined.body["full"], true);
}

//! How a source is asked for a record.

use serde_json::json;

use super::{Server, assert_problem};

#[tokio::test]
async fn a_strategy_is_chosen_when_a_source_is_added_and_later() {
    let server = Server::start().await;
    let plain = json!({ "name": "a", "base_url": "https://ehr.example/a" });
    let plain = server.post("/v1/sources", &plain).await.is(201);
    assert_eq!(plain.body["strategy"], "search");
    let bulk = json!({ "name": "b", "base_url": "https://ehr.example/b", "strategy": "bulk" });
    let bulk = server.post("/v1/sources", &bulk).await.is(201);
    assert_eq!(bulk.body["strategy"], "bulk");

    let path = format!("/v1/sources/{}", bulk.id());
    let change = json!({ "strategy": "everything" });
    let changed = server.patch(&path, &change).await.is(200);
    assert_eq!(changed.body["strategy"], "everything");
    // What is left out stays.
    let other = json!({ "requests_per_second": 7 });
    let other = server.patch(&path, &other).await.is(200);
    assert_eq!(other.body["strategy"], "everything");
    let listed = server.get("/v1/sources").await.is(200);
    assert_eq!(listed.body["data"][0]["strategy"], "everything");
}

#[tokio::test]
async fn a_strategy_that_there_is_not_is_refused() {
    let server = Server::start().await;
    for strategy in ["bulky", "Bulk", ""] {
        let body =
            json!({ "name": "a", "base_url": "https://ehr.example/a", "strategy": strategy });
        let refused = server.post("/v1/sources", &body).await;
        assert_problem(&refused, 422, "invalid_value");
    }
}

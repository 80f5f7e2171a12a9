//! Lists and reads.

use db::Db;
use model::Trigger;
use serde_json::Value;

use super::{Server, assert_problem};

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let server = Server::start().await;
    let get = |path| super::send(server.request(reqwest::Method::GET, path));
    get("/healthz").await.is(200);
    get("/readyz").await.is(200);
    Db::close(&server.db).await;
    get("/healthz").await.is(200);
    assert_problem(&get("/readyz").await, 503, "database_unavailable");
    let pulls = server.get("/v1/pulls").await;
    assert_problem(&pulls, 503, "database_unavailable");
}

#[tokio::test]
async fn lists_go_back_page_by_page_and_new_entries_shift_nothing() {
    let server = Server::start().await;
    let mut pulls = Vec::new();
    for number in 0..5 {
        let connection = server.connection(number).await;
        let pull = server.db.request_pull(connection, Trigger::Manual).await;
        pulls.push(pull.unwrap().to_string());
    }
    pulls.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/pulls?limit=2".to_owned());
    loop {
        let reply = server.get(&path).await.is(200);
        let data = reply.body["data"].as_array().unwrap();
        seen.extend(
            data.iter()
                .map(|pull| pull["id"].as_str().unwrap().to_owned()),
        );
        // One that comes meanwhile is in none of the pages.
        let late = server.connection(10 + seen.len()).await;
        server.db.request_pull(late, Trigger::Manual).await.unwrap();
        let Some(cursor) = reply.body["next_cursor"].as_str() else {
            assert_eq!(reply.body["has_more"], false);
            assert_eq!(reply.header("link"), None);
            break;
        };
        assert_eq!(data.len(), 2);
        let link = format!("<?limit=2&cursor={cursor}>; rel=\"next\"");
        assert_eq!(reply.header("link"), Some(&*link));
        path = format!("/v1/pulls?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, pulls);
    let empty = server.get("/v1/destinations").await.is(200);
    assert_eq!(empty.body["data"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn lists_can_be_narrowed() {
    let server = Server::start().await;
    let (one, two) = (server.connection(1).await, server.connection(2).await);
    for connection in [one, two] {
        server
            .db
            .request_pull(connection, Trigger::Manual)
            .await
            .unwrap();
    }
    let pulls = server
        .get(&format!("/v1/pulls?connection_id={one}"))
        .await
        .is(200);
    assert_eq!(pulls.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(pulls.body["data"][0]["connection_id"], one.to_string());
    let patient = server.patient("person-2").await;
    let of_patient = format!("/v1/connections?patient_id={patient}");
    let connections = server.get(&of_patient).await.is(200);
    assert_eq!(connections.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(connections.body["data"][0]["id"], two.to_string());
    let by_own_name = server.get("/v1/patients/person-2").await.is(200);
    assert_eq!(by_own_name.id(), patient.to_string());
}

#[tokio::test]
async fn what_one_has_already_is_not_sent_again() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let path = format!("/v1/connections/{connection}");
    let first = server.get(&path).await.is(200);
    assert!(!first.text.contains("canary"), "{}", first.text);
    let tag = first.header("etag").unwrap().to_owned();
    let request = server
        .request(reqwest::Method::GET, &path)
        .bearer_auth(&server.key);
    let again = super::send(request.header("if-none-match", &tag))
        .await
        .is(304);
    assert_eq!(again.text, "");
    assert_eq!(again.header("etag"), Some(&*tag));
}

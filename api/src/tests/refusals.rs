//! Every refusal is a problem document.

use reqwest::Method;
use serde_json::json;

use super::{Server, assert_problem, send};

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let server = Server::start().await;
    let unknown = model::ExportId::new();
    for (path, status, code) in [
        ("/", 404, "no_such_route"),
        ("/v1/nothing", 404, "no_such_route"),
        (&*format!("/v1/exports/{unknown}"), 404, "not_found"),
        ("/v1/patients/nobody", 404, "not_found"),
        ("/v1/patients/nobody/$everything", 404, "not_found"),
        ("/v1/exports/1", 400, "invalid_parameter"),
        ("/v1/pulls/%ff", 400, "invalid_parameter"),
        ("/v1/patients/%00", 400, "invalid_parameter"),
        (&*format!("/v1/pulls/{unknown}"), 400, "invalid_parameter"),
        ("/v1/pulls?limit=0", 400, "invalid_parameter"),
        ("/v1/pulls?limit=201", 400, "invalid_parameter"),
        ("/v1/pulls?limit=x", 400, "invalid_parameter"),
        ("/v1/pulls?limit=1&limit=2", 400, "invalid_parameter"),
        ("/v1/pulls?cursor=x", 400, "invalid_parameter"),
        ("/v1/pulls?state=queued", 400, "invalid_parameter"),
        ("/v1/pulls?connection_id=x", 400, "invalid_parameter"),
        (
            &*format!("/v1/exports/{unknown}?wait=31"),
            400,
            "invalid_parameter",
        ),
        (
            "/v1/patients/x/$everything?_count=0",
            400,
            "invalid_parameter",
        ),
        (
            "/v1/patients/x/$everything?_since=today",
            400,
            "invalid_parameter",
        ),
        (
            "/v1/patients/x/$everything?_type=",
            400,
            "invalid_parameter",
        ),
        (
            "/v1/patients/x/$everything?_type=patient",
            400,
            "invalid_parameter",
        ),
        ("/v1/patients/x/resources/..%2f..", 400, "invalid_parameter"),
    ] {
        let reply = server.get(path).await;
        assert_problem(&reply, status, code);
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_used_are_named_and_change_nothing() {
    let server = Server::start().await;
    let of = |body: &str| body.as_bytes().to_vec();
    let long = format!(r#"{{"external_id":"{}"}}"#, "x".repeat(129));
    let huge = format!(r#"{{"external_id":"{}"}}"#, "x".repeat(2 << 20));
    for (body, status, code) in [
        (of(""), 400, "invalid_body"),
        (of("{"), 400, "invalid_body"),
        (vec![b'"', 0xff, b'"'], 400, "invalid_body"),
        (of("[]"), 422, "invalid_value"),
        (of("null"), 422, "invalid_value"),
        (of(r#"{"external_id":7}"#), 422, "invalid_value"),
        (of(r#"{"external_id":""}"#), 422, "invalid_value"),
        (of(r#"{"external_id":" a"}"#), 422, "invalid_value"),
        (of("{\"external_id\":\"a\\u0000b\"}"), 422, "invalid_value"),
        (of(r#"{"externalId":"a"}"#), 422, "invalid_value"),
        (
            of(r#"{"external_id":"a","external_id":"b"}"#),
            422,
            "invalid_value",
        ),
        (of(&long), 422, "invalid_value"),
        (of(&huge), 413, "body_too_large"),
    ] {
        let request = server.request(Method::POST, "/v1/patients");
        let request = request.bearer_auth(&server.key).body(body);
        let reply = send(request.header("content-type", "application/json")).await;
        assert_problem(&reply, status, code);
    }
    let request = server
        .request(Method::POST, "/v1/patients")
        .bearer_auth(&server.key);
    let no_json = send(request.body("external_id=a")).await;
    assert_problem(&no_json, 415, "unsupported_media_type");
    let patients = server.get("/v1/patients").await.is(200);
    assert_eq!(patients.body["data"], json!([]));
    for path in ["/v1/sources", "/v1/destinations"] {
        let body = json!({"name": "a", "base_url": "https://refused.example", "location": "/refused", "format": "parquet"});
        let reply = server.post(path, &body).await;
        assert_problem(&reply, 422, "invalid_value");
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_names_those_that_are() {
    let server = Server::start().await;
    let request = server
        .request(Method::PUT, "/v1/pulls")
        .bearer_auth(&server.key);
    let put = send(request).await;
    assert_problem(&put, 405, "method_not_allowed");
    let allow = put.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn headers_have_a_limit() {
    let server = Server::start().await;
    let request = server
        .request(Method::GET, "/v1/pulls")
        .bearer_auth(&server.key);
    let reply = send(request.header("x-large", "x".repeat(20 << 10))).await;
    assert_problem(&reply, 431, "headers_too_large");
}

//! The token guards what is FHIR, and nothing else.

use crate::SandboxOptions;
use crate::sample::EDGE_CASE_PATIENT;
use std::time::Duration;

use super::{get, logged, start};

#[tokio::test]
async fn the_token_guards_fhir_and_the_own_doors_stay_open() {
    let log_file = std::env::temp_dir().join(format!("sandbox-log-{}.ndjson", std::process::id()));
    let sandbox = start(SandboxOptions {
        bearer_token: Some("secret".into()),
        log_file: Some(log_file.clone()),
        ..Default::default()
    })
    .await;
    let root = sandbox.base_url().join("/").unwrap();
    let read = format!("{}/Patient/{EDGE_CASE_PATIENT}", sandbox.base_url());
    let client = reqwest::Client::new();
    let refused = client.get(&read).send().await.unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers().contains_key("www-authenticate")
        ),
        (401, true)
    );
    assert_eq!(
        client
            .get(&read)
            .bearer_auth("secret")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        get(&format!("{}/metadata", sandbox.base_url())).await.0,
        200
    );

    let knobs = client
        .put(format!("{root}_knobs"))
        .header("content-type", "application/json");
    assert_eq!(
        knobs
            .body(r#"{"latency_ms":1}"#)
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(sandbox.portal().knobs().latency_ms, 1);
    let flag = r#"{"resourceType":"Flag","id":"f","subject":{"reference":"Patient/12345"}}"#;
    assert_eq!(
        client
            .post(format!("{root}_resources"))
            .body(flag)
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(
        client
            .post(format!("{root}_resources"))
            .body("{")
            .send()
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(
        client
            .delete(format!("{root}_resources/Flag/f"))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );

    let log = logged(sandbox.portal());
    assert_eq!(log, [(1, 401, 0), (2, 200, 1), (3, 200, 0)]);
    assert_eq!(
        std::fs::read_to_string(&log_file).unwrap().lines().count(),
        log.len()
    );
    std::fs::remove_file(log_file).unwrap();
    drop(sandbox);
    let refused = async { while client.get(&read).send().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), refused)
        .await
        .unwrap();
}

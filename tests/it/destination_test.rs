//! A destination that is added over the API is tested by a worker: one that fails is
//! stored disabled and says why; mended, it is exported to. A rehearsal tells what an
//! export then delivers.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{ApiClient, App, AppOptions, S3Server, chain, skipped};
use model::FileFormat;
use reqwest::Method;
use serde_json::{Value, json};
use steps::Probe;

const LIMIT: Duration = Duration::from_secs(120);

/// Asks the API for what it grants; no answer shows the key to the store.
async fn send(api: &ApiClient, method: Method, path: &str, body: &Value) -> Result<Value> {
    let answer = api.ask(method, path, Some(body)).await?;
    let (status, text) = (answer.status, &answer.text);
    ensure!((200..300).contains(&status), "{path}: {status} {text}");
    ensure!(!S3Server::is_shown_in(text), "the key is shown: {text}");
    answer.json()
}

/// Adds a destination and waits for its test.
async fn add(
    api: &ApiClient,
    name: &str,
    location: &str,
    credentials: Option<Value>,
) -> Result<Value> {
    let mut body = json!({"name": name, "location": location, "format": "parquet"});
    if let Some(credentials) = credentials {
        body["credentials"] = credentials;
    }
    send(api, Method::POST, "/v1/destinations?wait=30", &body).await
}

/// The checks of a destination's test that failed, with their codes.
fn failed(destination: &Value) -> Vec<(&str, &str)> {
    let checks = destination["test"]["checks"]
        .as_array()
        .into_iter()
        .flatten();
    checks
        .filter(|check| check["verdict"] == "failed")
        .filter_map(|check| Some((check["check"].as_str()?, check["error_code"].as_str()?)))
        .collect()
}

/// A key to the store, but for what `change` says.
fn key(s3: &S3Server, change: &Value) -> Result<Value> {
    let mut key: Value = serde_json::from_slice(&s3.access().to_json())?;
    for (member, value) in change.as_object().into_iter().flatten() {
        key[member] = value.clone();
    }
    Ok(key)
}

/// Adds destinations, each with a fault, and one that is good before.
async fn add_faulty(app: &App, api: &ApiClient, s3: &S3Server) -> Result<()> {
    let file = app.dir.path().join("file");
    std::fs::write(&file, b"")?;
    let file = file.display().to_string();
    let folder = app.dir.path().join("folder").display().to_string();
    let nobody = format!("http://127.0.0.1:{}", worker::embedded::free_port(0)?);
    let [right, wrong, tls, away] = [
        json!({}),
        json!({"secret_access_key": "another-key"}),
        json!({"endpoint": s3.endpoint().replace("http:", "https:")}),
        json!({"endpoint": nobody}),
    ]
    .map(|change| key(s3, &change).ok());
    let taken = add(api, "first", &folder, None).await?;
    ensure!(
        taken["enabled"] == true && failed(&taken).is_empty(),
        "{taken}"
    );
    // The same folder by another name is the first one's.
    let same = format!("{folder}/.");
    for (name, location, credentials, check, code) in [
        ("key", "s3://lake/a", wrong, "write", "key_refused"),
        ("bucket", "s3://none/a", right, "write", "bucket_missing"),
        ("tls", "s3://lake/b", tls, "write", "tls"),
        ("away", "s3://lake/c", away, "write", "unavailable"),
        ("file", &*file, None, "write", "unavailable"),
        ("foreign", &*same, None, "owner", "foreign"),
    ] {
        let added = add(api, name, location, credentials).await?;
        ensure!(
            added["enabled"] == false && added["awaits_test"] == true,
            "{name}: {added}"
        );
        let code = format!("destination_{code}");
        ensure!(failed(&added) == [(check, &*code)], "{name}: {added}");
    }
    Ok(())
}

/// What a probe of this id left in Temporal still replays.
async fn replay(app: &App, probe: &Value) -> Result<()> {
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let probe = probe["id"].as_str().unwrap_or_default().parse()?;
    for json in &chain::<Probe>(&client, &Probe::id(probe)).await? {
        crate::histories::replay("Probe", json).await?;
        if std::env::var_os("CHARTLIFT_RECORD").is_some() {
            crate::histories::record("Probe", 0, json)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_its_test_says_why_and_is_enabled_when_mended() -> Result<()> {
    let Some(s3) = S3Server::start(&["lake"]).await? else {
        skipped("VersityGW is not there: run the tests by `cargo xtask test`");
        return Ok(());
    };
    let mut app = App::start(AppOptions::default()).await?;
    let (url, api_key) = app.api().await?;
    let api = ApiClient::new(&url, &api_key);
    add_faulty(&app, &api, &s3).await?;

    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.until(LIMIT, "the pull has ended", async |app: &mut App| {
        let pulls = app.core.db.pulls(None, None, 1).await?;
        Ok(pulls[0].state.is_final())
    })
    .await?;
    let id = app.core.db.destination("key").await?.id;
    let path = format!("/v1/destinations/{id}");
    let rehearse = format!("{path}/rehearse?wait=30");
    let rehearsed = send(&api, Method::POST, &rehearse, &json!({})).await?;
    let figures = &rehearsed["rehearsal"];
    ensure!(
        figures["patients"] == 1 && figures["size_bytes"].as_u64() > Some(0),
        "{rehearsed}"
    );
    let mended = json!({"credentials": key(&s3, &json!({}))?});
    send(&api, Method::PATCH, &path, &mended).await?;
    app.until(LIMIT, "it is enabled", async |app: &mut App| {
        Ok(app.core.db.destination("key").await?.enabled)
    })
    .await?;
    app.idle(LIMIT).await?;
    let exports = app.core.db.exports(Some(id), None, 9).await?;
    let delivered: u64 = exports.iter().map(|export| export.counts.delivered).sum();
    ensure!(
        figures["resources"] == delivered,
        "{rehearsed} but {delivered} delivered"
    );
    let nothing = send(&api, Method::POST, &rehearse, &json!({})).await?;
    ensure!(nothing["rehearsal"]["resources"] == 0, "{nothing}");
    let log = std::fs::read_to_string(app.log())?;
    ensure!(
        !S3Server::is_shown_in(&log) && !log.contains("another-key"),
        "{log}"
    );
    // Those that failed their test have had nothing.
    app.verified().await?;
    replay(&app, &nothing).await?;
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_whose_worker_dies_is_carried_out_by_the_next() -> Result<()> {
    let mut app = App::prepare(AppOptions::default()).await?;
    app.destination("files", FileFormat::Parquet).await?;
    app.up(&[("FAILPOINTS", "probe.run.begin=1*return(abort)")])?;
    let id = app.core.db.destination("files").await?.id;
    let test = app
        .core
        .db
        .request_probe(id, model::ProbeKind::Test)
        .await?;
    let status = app.node().wait(LIMIT)?;
    ensure!(!status.success(), "it did not abort");
    app.up(&[])?;
    app.until(LIMIT, "the test has ended", async |app: &mut App| {
        Ok(app.core.db.probe(test).await?.state.is_final())
    })
    .await?;
    let ended = app.core.db.probe(test).await?;
    ensure!(ended.state == model::RunState::Completed, "{ended:?}");
    app.down()
}

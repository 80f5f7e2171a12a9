//! A destination that is added over the API is tested by a worker: one that fails is
//! stored disabled and says why; mended, it is exported to. A rehearsal tells what an
//! export then delivers.

use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, S3Server, chain, skipped};
use model::FileFormat;
use serde_json::{Value, json};
use steps::Probe;

const LIMIT: Duration = Duration::from_secs(120);

struct Api {
    url: String,
    key: String,
}

impl Api {
    async fn send(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let request =
            reqwest::Client::new().request(method.parse()?, format!("{}{path}", self.url));
        let request = request
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .body(body.to_string());
        let reply = request.send().await?;
        let status = reply.status();
        let text = reply.text().await?;
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        ensure!(!S3Server::is_shown_in(&text), "the key is shown: {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Adds a destination and waits for its test.
    async fn add(&self, name: &str, location: &str, credentials: Option<Value>) -> Result<Value> {
        let mut body = json!({"name": name, "location": location, "format": "parquet"});
        if let Some(credentials) = credentials {
            body["credentials"] = credentials;
        }
        self.send("POST", "/v1/destinations?wait=30", body).await
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_its_test_says_why_and_is_enabled_when_mended() -> Result<()> {
    let Some(s3) = S3Server::start(&["lake"]).await? else {
        skipped("VersityGW is not there: run the tests by `cargo xtask test`");
        return Ok(());
    };
    let key = |change: Value| -> Result<Value> {
        let mut key: Value = serde_json::from_slice(&s3.access().to_json())?;
        for (member, value) in change.as_object().into_iter().flatten() {
            key[member] = value.clone();
        }
        Ok(key)
    };
    let mut app = App::start(AppOptions::default()).await?;
    let (url, api_key) = app.api().await?;
    let api = Api { url, key: api_key };
    let file = app.dir.path().join("file");
    std::fs::write(&file, b"")?;
    let folder = app.dir.path().join("folder").display().to_string();
    let wrong = key(json!({"secret_access_key": "another-key"}))?;
    let tls = key(json!({"endpoint": s3.endpoint().replace("http:", "https:")}))?;
    let nobody =
        key(json!({"endpoint": format!("http://127.0.0.1:{}", worker::embedded::free_port(0)?)}))?;

    let taken = api.add("first", &folder, None).await?;
    ensure!(
        taken["enabled"] == true && failed(&taken).is_empty(),
        "{taken}"
    );
    for (name, location, credentials, check, code) in [
        (
            "key",
            "s3://lake/a",
            Some(wrong),
            "write",
            "destination_key_refused",
        ),
        (
            "bucket",
            "s3://nowhere/a",
            Some(key(json!({}))?),
            "write",
            "destination_bucket_missing",
        ),
        ("tls", "s3://lake/b", Some(tls), "write", "destination_tls"),
        (
            "away",
            "s3://lake/c",
            Some(nobody),
            "write",
            "destination_unavailable",
        ),
        (
            "file",
            &file.display().to_string(),
            None,
            "write",
            "destination_unavailable",
        ),
        // The same folder by another name: the first one's.
        (
            "foreign",
            &format!("{folder}/."),
            None,
            "owner",
            "destination_foreign",
        ),
    ] {
        let added = api.add(name, location, credentials).await?;
        ensure!(
            added["enabled"] == false && added["awaits_test"] == true,
            "{name}: {added}"
        );
        ensure!(failed(&added) == [(check, code)], "{name}: {added}");
    }

    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.until(LIMIT, "the pull has ended", async |app: &mut App| {
        let pulls = app.core.db.pulls(None, None, 1).await?;
        Ok(pulls[0].state.is_final())
    })
    .await?;
    let id = app.core.db.destination("key").await?.id;
    let path = format!("/v1/destinations/{id}");
    let rehearsed = api
        .send("POST", &format!("{path}/rehearse?wait=30"), json!({}))
        .await?;
    let figures = &rehearsed["rehearsal"];
    ensure!(
        figures["patients"] == 1 && figures["size_bytes"].as_u64() > Some(0),
        "{rehearsed}"
    );
    api.send("PATCH", &path, json!({"credentials": key(json!({}))?}))
        .await?;
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
    let nothing = api
        .send("POST", &format!("{path}/rehearse?wait=30"), json!({}))
        .await?;
    ensure!(nothing["rehearsal"]["resources"] == 0, "{nothing}");
    let log = std::fs::read_to_string(app.log())?;
    ensure!(
        !S3Server::is_shown_in(&log) && !log.contains("another-key"),
        "{log}"
    );

    // Those that failed their test have had nothing.
    app.verified().await?;
    let client = worker::connect(&app.temporal.address(), "default").await?;
    let probe = nothing["id"].as_str().unwrap_or_default().parse()?;
    let histories = chain::<Probe>(&client, &Probe::id(probe)).await?;
    for json in &histories {
        crate::histories::replay("Probe", json).await?;
        if std::env::var_os("CHARTLIFT_RECORD").is_some() {
            crate::histories::record("Probe", 0, json)?;
        }
    }
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

//! All that leaves the record store and the destination: histories, logs, files, what the
//! API answers.

use anyhow::{Result, ensure};
use chartlift_tests::{ApiClient, chain, readable, repository};
use model::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use steps::{DestinationExport, PatientPull};

use super::planted::Planted;
use super::portal::PATIENT;
use crate::secrets::all_files;

impl Planted {
    /// All that leaves the record store and the destination.
    pub(super) async fn outside(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut outside = self.histories().await?;
        outside.extend(self.answers().await?);
        let log = std::fs::read(self.app.log())?;
        outside.push(("the worker's log".to_owned(), log));
        self.app.down()?;
        self.app.core.db.close().await;
        let mut files = Vec::new();
        all_files(&self.app.core.settings.data.dir, &mut files)?;
        for path in files {
            let name = path.to_string_lossy().into_owned();
            outside.push((format!("the name {name}"), name.clone().into_bytes()));
            if name.contains("chartlift.db") {
                outside.push((name, std::fs::read(&path)?));
            }
        }
        Ok(outside)
    }

    async fn histories(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let client = worker::connect(&self.app.temporal.address(), "default").await?;
        let pull = PatientPull::id(self.connection);
        let export = DestinationExport::id(self.destination);
        let mut histories = chain::<PatientPull>(&client, &pull).await?;
        histories.extend(chain::<DestinationExport>(&client, &export).await?);
        let named = histories
            .iter()
            .enumerate()
            .map(|(number, history)| Ok((format!("history {number}"), readable(history)?)));
        named.collect()
    }

    /// What the API answers to a key without the scope `phi`, to every GET that its
    /// document names, with every id that there is; and to bodies with a secret in the
    /// wrong place.
    async fn answers(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let api = self.app.api_process("api").await?;
        let scopes = [Scope::Read, Scope::Write, Scope::Admin];
        let key = self.app.api_key("nosy", &scopes).await?;
        let client = api.client(&key);
        let mut answers = vec![];
        let mut ids = vec![PATIENT.to_owned()];
        for path in got() {
            if path.contains("{id}") {
                continue;
            }
            let text = client.get(&path).await?.text;
            ids.extend(ids_in(&text));
            answers.push((path, text.into_bytes()));
        }
        ensure!(ids.len() >= 6, "{ids:?}");
        for path in got().iter().filter(|path| path.contains("{id}")) {
            for id in &ids {
                let path = path.replace("{id}", id).replace("{type}", "Observation");
                let answer = client.get(&path).await?;
                let phi = path.contains("/resources/") || path.contains("everything");
                ensure!(!phi || answer.status == 403, "{path}: {}", answer.status);
                // The id that was asked for may stand in `instance`.
                let text = answer.text.replace(&path, "");
                if id != PATIENT {
                    answers.push((path, text.into_bytes()));
                }
            }
        }
        answers.extend(misplaced(&client).await?);
        ensure!(answers.len() > 30, "{} answers", answers.len());
        let log = std::fs::read(self.app.dir.path().join("api.log"))?;
        answers.push(("the API's log".to_owned(), log));
        Ok(answers)
    }
}

/// The paths of all GETs under `/v1`.
fn got() -> Vec<String> {
    let path = repository().join("docs/openapi.json");
    let document = std::fs::read(path).expect("the document is committed");
    let document: Value = serde_json::from_slice(&document).expect("it is JSON");
    let paths = document["paths"].as_object().expect("it has paths");
    let got = paths
        .iter()
        .filter(|(path, of)| path.starts_with("/v1/") && of.get("get").is_some());
    got.map(|(path, _)| path.clone()).collect()
}

fn ids_in(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let data = value["data"].as_array().cloned().unwrap_or_default();
    let ids = data.iter().filter_map(|entry| entry["id"].as_str());
    ids.map(str::to_owned).collect()
}

async fn misplaced(client: &ApiClient) -> Result<Vec<(String, Vec<u8>)>> {
    let mut answers = Vec::new();
    for (path, body) in [
        ("/v1/connections", json!({"token": ["CANARY39-token"]})),
        ("/v1/connections", json!({"grant": "CANARY39-token"})),
        ("/v1/sources", json!({"auth": "CANARY39-token"})),
        ("/v1/sources", json!({"login": "CANARY39-token"})),
        ("/v1/sources", json!({"requests_per_second": "CANARY39"})),
        ("/v1/destinations", json!({"format": "CANARY39-key"})),
        ("/v1/destinations", json!({"credentials": "CANARY39-key"})),
        ("/v1/keys", json!({"scopes": ["CANARY39"]})),
    ] {
        let answer = client.ask(Method::POST, path, Some(&body)).await?;
        ensure!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.text
        );
        answers.push((format!("POST {path}"), answer.text.into_bytes()));
    }
    Ok(answers)
}

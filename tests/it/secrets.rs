//! Secrets and health data stay where they belong: secrets sealed in the
//! database, health data in the record store and the destinations alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, chain, readable};
use model::FileFormat;
use sandbox::SandboxOptions;
use steps::{DestinationExport, PatientPull};

const TOKEN: &str = "tok-PLANTED-bearer-5d1c";
const PATIENT: &str = "PLANTED-portal-patient-id-77";

/// Twenty canaries, in every part of a resource that could leak.
fn canaries() -> Vec<String> {
    let mut lines = vec![format!(
        r#"{{"resourceType":"Patient","id":"{PATIENT}","name":[{{"family":"CANARY00","given":["CANARY01"]}}],"birthDate":"1901-02-03","telecom":[{{"value":"CANARY02"}}],"address":[{{"line":["CANARY03"],"city":"CANARY04"}}]}}"#
    )];
    for number in 5..20 {
        let types = ["Observation", "Condition", "DocumentReference"];
        let resource_type = types[number % 3];
        lines.push(format!(
            r#"{{"resourceType":"{resource_type}","id":"CANARY{number:02}","subject":{{"reference":"Patient/{PATIENT}"}},"text":{{"div":"CANARY{number:02}"}},"performer":[{{"reference":"Practitioner/CANARY{number:02}-p"}}]}}"#
        ));
    }
    lines.push(
        r#"{"resourceType":"Practitioner","id":"CANARY06-p","name":[{"family":"CANARY06"}]}"#
            .to_owned(),
    );
    lines
}

pub(crate) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

pub(crate) fn all_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all_files(&path, found)?
        } else {
            found.push(path)
        }
    }
    Ok(())
}

#[expect(
    clippy::too_many_lines,
    reason = "one story: each part builds on the one before"
)]
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_in_the_database_and_no_health_data_outside_the_store() -> Result<()> {
    let options = AppOptions {
        sandbox: SandboxOptions {
            extra: canaries(),
            bearer_token: Some(TOKEN.to_owned()),
            page_size: 2,
            ..SandboxOptions::default()
        },
        settings: vec![
            ("log.level".to_owned(), "trace".to_owned()),
            // Cursors are saved again and again.
            (
                "worker.staging_size_target_bytes".to_owned(),
                "1".to_owned(),
            ),
        ],
        ..AppOptions::default()
    };
    let mut app = App::start(options).await?;
    let connection = activities::register::add_connection(
        &app.core.db,
        "person-1",
        "sandbox",
        PATIENT.to_owned(),
        Some(TOKEN.to_owned()),
    )
    .await?;
    let destination = app.destination("ndjson", FileFormat::Ndjson).await?;
    app.pull(&[connection]).await?;
    app.idle(Duration::from_secs(60)).await?;
    app.all_completed().await?;

    // The canaries did pass through.
    let expected = app.sandbox.portal().expected(PATIENT).len();
    ensure!(
        app.delivered(destination).await?.all().len() == expected && expected >= 17,
        "{expected} resources"
    );

    let client = worker::connect(&app.temporal.address(), "default").await?;
    let mut histories = chain::<PatientPull>(&client, &PatientPull::id(connection)).await?;
    histories
        .extend(chain::<DestinationExport>(&client, &DestinationExport::id(destination)).await?);
    let mut outside = Vec::new();
    for history in &histories {
        let text = readable(history)?;
        ensure!(
            contains(&text, &connection.to_string()) || contains(&text, &destination.to_string()),
            "payloads are not decoded"
        );
        outside.push(text);
    }
    outside.push(std::fs::read(app.log())?);
    app.down()?;
    app.core.db.close().await;

    // A cursor of the portal is a secret too: with it pages can be read.
    let cursors: Vec<String> = app
        .sandbox
        .portal()
        .log()
        .into_iter()
        .filter_map(|entry| {
            entry
                .path
                .split_once("_getpages=")
                .map(|(_, rest)| rest.split('&').next().unwrap_or_default().to_owned())
        })
        .collect();
    ensure!(cursors.len() >= 2, "no cursor was followed");
    let key = std::fs::read_to_string(app.core.settings.data.dir.join("encryption.key"))?;
    let secrets = [
        TOKEN,
        PATIENT,
        &cursors[0],
        &cursors[cursors.len() - 1],
        key.trim(),
    ];
    let mut files = Vec::new();
    all_files(&app.core.settings.data.dir, &mut files)?;
    let databases: Vec<_> = files
        .iter()
        .filter(|path| path.to_string_lossy().contains("chartlift.db"))
        .collect();
    ensure!(!databases.is_empty());
    for path in databases {
        let bytes = std::fs::read(path)?;
        for secret in secrets {
            ensure!(
                !contains(&bytes, secret),
                "{} holds a secret",
                path.display()
            );
        }
        outside.push(bytes);
    }
    let canaries: Vec<String> = (0..20).map(|number| format!("CANARY{number:02}")).collect();
    for (number, text) in outside.iter().enumerate() {
        for word in canaries
            .iter()
            .map(String::as_str)
            .chain([TOKEN, PATIENT, "1901-02-03"])
        {
            ensure!(
                !contains(text, word),
                "text {number} of {} histories, log and database holds {word}",
                histories.len()
            );
        }
    }
    // Nor do the names of the record store's objects say anything.
    for path in files {
        let name = path.to_string_lossy();
        ensure!(
            !name.contains("CANARY") && !name.contains(PATIENT),
            "{name}"
        );
    }
    Ok(())
}

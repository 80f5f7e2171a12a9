//! Forty words, planted wherever a portal says something: in names, ids, links,
//! texts of errors, resources that are broken. They arrive where they should, and
//! nothing else repeats them: no history of Temporal, no log at its finest, no
//! column of the database, no answer of the API to a key that may not see records.

use std::collections::BTreeMap;
use std::time::Duration;

use activities::register::{Credentials, SourceToAdd, add_connection_with, add_source_with_login};
use anyhow::{Result, ensure};
use chartlift_tests::{ApiClient, App, AppOptions, chain, lines_of, readable, repository};
use data_encoding::BASE64;
use db::{GivenLogin, NewToken, SourceAuth};
use model::{ConnectionId, DestinationId, FileFormat, Scope};
use reqwest::Method;
use sandbox::{Answer, Body, Break, Demand, Document, Issued, Knobs};
use sandbox::{SandboxOptions, SmartClient, SmartOptions};
use serde_json::{Value, json};
use steps::{DestinationExport, PatientPull};

use crate::secrets::{all_files, contains};

const LIMIT: Duration = Duration::from_secs(90);
const PATIENT: &str = "CANARY00-patient";
const CLIENT_SECRET: &str = "CANARY39-client-secret";
/// In what the portal sends beside resources, and in what is set aside.
const UNDELIVERED: [&str; 9] = [
    "CANARY24", "CANARY25", "CANARY26", "CANARY33", "CANARY34", "CANARY35", "CANARY36", "CANARY37",
    "CANARY39",
];

fn resources() -> Vec<String> {
    let subject = json!({"reference": format!("Patient/{PATIENT}")});
    let observation = |id: &str, more: Value| {
        let mut resource = json!({"resourceType": "Observation", "id": id, "subject": subject});
        let members = more.as_object().cloned().unwrap_or_default();
        resource.as_object_mut().expect("an object").extend(members);
        resource
    };
    let long = format!("CANARY28-{}", "x".repeat(80));
    [
        json!({"resourceType": "Patient", "id": PATIENT, "birthDate": "1901-02-03",
            "name": [{"family": "CANARY01", "given": ["CANARY02"]}],
            "telecom": [{"value": "CANARY03"}], "photo": [{"url": "https://CANARY04.example/p"}],
            "address": [{"line": ["CANARY05"], "city": "CANARY06"}],
            "identifier": [{"system": "urn:CANARY07", "value": "CANARY08"}]}),
        observation("CANARY09-id", json!({"valueString": "CANARY10", "code": {"text": "CANARY11"}})),
        observation("o-1", json!({"note": [{"text": "CANARY12"}], "text": {"div": "CANARY13"}})),
        observation("o-2", json!({"hasMember": [{"reference": "https://CANARY14.example/Observation/1"}]})),
        observation("o-3", json!({"extension": [{"url": "urn:CANARY15", "valueCode": "CANARY16"}]})),
        observation("o-4", json!({"performer": [{"reference": "Practitioner/CANARY17-found"}]})),
        observation("o-5", json!({"performer": [{"reference": "Practitioner/CANARY18-dangling"}]})),
        observation("o-6", json!({"meta": {"tag": [{"code": "CANARY19"}], "profile": ["urn:CANARY20"]}})),
        observation("o-7", json!({"contained": [{"resourceType": "Device", "id": "CANARY21"}]})),
        observation("o-8", json!({"issued": "CANARY22", "CANARY23": true})),
        observation("CANARY24-json", json!({})),
        observation("CANARY25-twice", json!({})),
        observation("o-9", json!({"method": {"text": "CANARY26"}})),
        observation("o-10", json!({"device": {"display": "CANARY27"}})),
        observation(&long, json!({})),
        json!({"resourceType": "Practitioner", "id": "CANARY17-found", "name": [{"family": "CANARY29"}]}),
        json!({"resourceType": "DocumentReference", "id": "CANARY30-document", "subject": subject,
            "content": [{"attachment": {"url": "Binary/CANARY31", "title": "CANARY32"}}]}),
        json!({"resourceType": "Binary", "id": "CANARY31", "contentType": "text/plain",
            "data": BASE64.encode(b"CANARY32 in a document")}),
        json!({"resourceType": "MedicationRequest", "id": "m-1", "subject": subject,
            "intent": "order", "note": [{"text": "CANARY38"}]}),
    ]
    .iter()
    .map(Value::to_string)
    .collect()
}

fn answer(status: u16, body: Body, text: &str, times: Option<u32>) -> Answer {
    let headers = [
        ("x-request-id", text),
        ("location", "https://CANARY33.example/"),
    ];
    Answer {
        status,
        body,
        text: text.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        times,
    }
}

/// What goes wrong, with words in it.
fn trouble() -> Knobs {
    let broken = [
        ("Observation/CANARY24-json", Break::BrokenJson),
        ("Observation/CANARY25-twice", Break::DuplicateKey),
        ("Observation/o-9", Break::NoId),
    ];
    let named = |(name, of): (&str, Break)| (name.to_owned(), of);
    let of_types = [
        ("Condition", answer(403, Body::Outcome, "CANARY34", None)),
        ("Procedure", answer(500, Body::Html, "CANARY35", Some(1))),
        (
            "Immunization",
            answer(400, Body::Outcome, "CANARY36", Some(1)),
        ),
    ];
    let demand = Demand {
        parameter: "intent".to_owned(),
        values: Vec::new(),
        status: 400,
        code: "required".to_owned(),
        text: "CANARY37 must be named".to_owned(),
    };
    let document = Document {
        etag: Some("\"CANARY31\"".to_owned()),
        ..Document::default()
    };
    Knobs {
        breaks: broken.map(named).into(),
        answers: of_types.map(|(ty, answer)| (ty.to_owned(), answer)).into(),
        demands: BTreeMap::from([("MedicationRequest".to_owned(), demand)]),
        documents: BTreeMap::from([("CANARY31".to_owned(), document)]),
        ..Knobs::default()
    }
}

struct Planted {
    app: App,
    connection: ConnectionId,
    destination: DestinationId,
    issued: Issued,
}

impl Planted {
    /// Pulled once, with tokens that end meanwhile, and delivered.
    async fn pulled() -> Result<Self> {
        let client = SmartClient {
            id: "chartlift".to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            jwks: None,
        };
        let smart = SmartOptions {
            clients: vec![client],
            ..SmartOptions::default()
        };
        let mut app = App::prepare(AppOptions {
            sandbox: SandboxOptions {
                smart: Some(smart),
                extra: resources(),
                page_size: 4,
                ..SandboxOptions::default()
            },
            no_source: true,
            settings: vec![("log.level".to_owned(), "trace".to_owned())],
            ..AppOptions::default()
        })
        .await?;
        app.sandbox.portal().set_knobs(trouble());
        let (connection, issued) = Self::connect(&app).await?;
        let destination = app.destination("lake", FileFormat::Ndjson).await?;
        app.pull(&[connection]).await?;
        app.work(&[])?;
        app.idle(LIMIT).await?;
        Ok(Self {
            app,
            connection,
            destination,
            issued,
        })
    }

    async fn connect(app: &App) -> Result<(ConnectionId, Issued)> {
        let (db, guard) = (&app.core.db, &app.core.guard);
        let source = SourceToAdd {
            auth: SourceAuth::Smart,
            ..SourceToAdd::new("sandbox", app.sandbox.base_url())
        };
        let login = GivenLogin {
            client_id: "chartlift".to_owned(),
            client_secret: Some(CLIENT_SECRET.to_owned()),
            ..GivenLogin::default()
        };
        add_source_with_login(db, guard, &source, login).await?;
        let scope = "launch/patient patient/*.rs offline_access";
        let issued = app.sandbox.smart().grant("chartlift", PATIENT, scope);
        // The access token is not known: it is had with the refresh token, and rotated.
        let grant = NewToken {
            refresh: issued.refresh_token.clone(),
            ..NewToken::default()
        };
        let credentials = Credentials {
            token: None,
            grant: Some(grant),
        };
        let patient = PATIENT.to_owned();
        let connection = add_connection_with(db, "person-1", "sandbox", patient, credentials);
        Ok((connection.await?, issued))
    }

    /// All that leaves the record store and the destination.
    async fn outside(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
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

#[tokio::test(flavor = "multi_thread")]
async fn forty_canaries_are_in_the_records_and_nowhere_else() -> Result<()> {
    let mut planted = Planted::pulled().await?;
    let app = &planted.app;
    let parts = app.delivered(planted.destination).await?.publications;
    let mut delivered = Vec::new();
    for part in parts.iter().flat_map(|of| &of.parts) {
        let lines = lines_of(&app.files("lake").join(&part.path))?;
        delivered.extend(lines.concat());
    }
    let words: Vec<String> = (0..40).map(|number| format!("CANARY{number:02}")).collect();
    for word in &words {
        let sent_on = !UNDELIVERED.contains(&word.as_str());
        ensure!(contains(&delivered, word) == sent_on, "{word}: {sent_on}");
    }
    let log = app.sandbox.portal().log();
    for (ty, status) in [
        ("Condition", 403),
        ("Procedure", 500),
        ("Immunization", 400),
    ] {
        let answered = log
            .iter()
            .any(|entry| entry.status == status && entry.path.contains(&format!("/{ty}?")));
        ensure!(answered, "{ty} was not answered with {status}");
    }
    let attachments = app.core.db.attachments(planted.connection, None, None, 10);
    let attachments = attachments.await?;
    ensure!(
        attachments.len() == 1 && attachments[0].object.is_some(),
        "{attachments:?}"
    );
    let mut secrets = vec![planted.issued.access_token.clone()];
    secrets.extend(planted.issued.refresh_token.clone());
    secrets.extend(words.iter().cloned());
    secrets.push("1901-02-03".to_owned());
    let outside = planted.outside().await?;
    for (name, text) in &outside {
        for word in &secrets {
            ensure!(!contains(text, word), "{name} holds {word}");
        }
    }
    println!(
        "{} texts hold none of {} words",
        outside.len(),
        secrets.len()
    );
    Ok(())
}

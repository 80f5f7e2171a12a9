//! `$everything` and `$export` over HTTP, as a client sees them.

use serde_json::{Value, json};

use crate::{ExportKnobs, Knobs, Sandbox, SandboxOptions};

const PATIENT: &str = "p";

async fn start(knobs: Knobs) -> Sandbox {
    let observation = |number: u32| {
        format!(
            r#"{{"resourceType":"Observation","id":"{number}","subject":{{"reference":"Patient/{PATIENT}"}},"performer":[{{"reference":"Practitioner/d"}}]}}"#
        )
    };
    let mut extra = vec![
        format!(r#"{{"resourceType":"Patient","id":"{PATIENT}"}}"#),
        r#"{"resourceType":"Practitioner","id":"d"}"#.to_owned(),
    ];
    extra.extend((0..3).map(observation));
    let options = SandboxOptions {
        extra,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    sandbox.portal().set_knobs(knobs);
    sandbox
}

async fn kick_off(sandbox: &Sandbox) -> reqwest::Response {
    let body = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "patient", "valueReference": { "reference": format!("Patient/{PATIENT}") } },
    ] });
    let url = format!("{}/Patient/$export", sandbox.base_url());
    let request = reqwest::Client::new().post(url).body(body.to_string());
    request
        .header("prefer", "respond-async")
        .send()
        .await
        .unwrap()
}

async fn get(url: &str) -> reqwest::Response {
    reqwest::get(url).await.unwrap()
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn everything_is_paged_and_gives_what_is_referred_to() {
    let sandbox = start(Knobs::default()).await;
    let mut next = Some(format!(
        "{}/Patient/{PATIENT}/$everything?_count=2",
        sandbox.base_url()
    ));
    let (mut found, mut pages) = (Vec::new(), 0);
    while let Some(url) = next {
        let bundle = json_of(get(&url).await).await;
        for entry in bundle["entry"].as_array().unwrap() {
            let of = &entry["resource"];
            found.push(format!("{}/{}", of["resourceType"], of["id"]).replace('"', ""));
        }
        let links = bundle["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == "next");
        next = link.map(|link| link["url"].as_str().unwrap().to_owned());
        pages += 1;
    }
    found.sort_unstable();
    let expected = [
        "Observation/0",
        "Observation/1",
        "Observation/2",
        "Patient/p",
        "Practitioner/d",
    ];
    assert_eq!(found, expected);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn an_export_is_asked_for_waited_for_read_and_ended() {
    let sandbox = start(Knobs {
        export: ExportKnobs {
            polls: 1,
            retry_after: Some("5".to_owned()),
            lines_per_file: Some(2),
            deleted: vec!["Goal/g".to_owned()],
            issues: vec!["warning".to_owned()],
            ..ExportKnobs::default()
        },
        ..Knobs::default()
    })
    .await;
    let begun = kick_off(&sandbox).await;
    assert_eq!(begun.status(), 202);
    let status_url = begun.headers()["content-location"].to_str().unwrap();
    let waiting = get(status_url).await;
    assert_eq!(waiting.status(), 202);
    assert_eq!(waiting.headers()["retry-after"], "5");
    let manifest = json_of(get(status_url).await).await;
    let types = |member: &str| -> Vec<&str> {
        let files = manifest[member].as_array().unwrap();
        files
            .iter()
            .map(|file| file["type"].as_str().unwrap())
            .collect()
    };
    assert_eq!(types("output"), ["Observation", "Observation", "Patient"]);
    assert_eq!(
        (types("deleted"), types("error")),
        (vec!["Bundle"], vec!["OperationOutcome"])
    );
    let file = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(get(file).await.text().await.unwrap().lines().count(), 2);
    assert_eq!(sandbox.portal().open_exports(), 1);
    let ended = reqwest::Client::new().delete(status_url).send().await;
    assert_eq!(ended.unwrap().status(), 202);
    assert_eq!(get(status_url).await.status(), 404);
    assert_eq!(sandbox.portal().open_exports(), 0);
}

#[tokio::test]
async fn the_storage_refuses_credentials_and_files_move() {
    let sandbox = start(Knobs {
        export: ExportKnobs {
            open_files: true,
            files_move_after: Some(1),
            ..ExportKnobs::default()
        },
        ..Knobs::default()
    })
    .await;
    let begun = kick_off(&sandbox).await;
    let status_url = begun.headers()["content-location"].to_str().unwrap();
    let manifest = json_of(get(status_url).await).await;
    assert_eq!(manifest["requiresAccessToken"], false);
    let file = manifest["output"][0]["url"].as_str().unwrap();
    assert!(file.starts_with("http://localhost:"), "{file}");
    let refused = reqwest::Client::new()
        .get(file)
        .bearer_auth("x")
        .send()
        .await;
    assert_eq!(refused.unwrap().status(), 400);
    assert_eq!(get(file).await.status(), 200);
    assert_eq!(get(file).await.status(), 410);
    let manifest = json_of(get(status_url).await).await;
    let file = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(get(file).await.status(), 200);
}

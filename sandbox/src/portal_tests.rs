//! The portal over HTTP, held against its own oracle.

mod doors;
mod knobs;

use crate::row::Key;
use crate::sample::EDGE_CASE_PATIENT;
use crate::{Portal, Sandbox, SandboxOptions, compact};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Bundle<'a> {
    link: Vec<BTreeMap<String, String>>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: &'a RawValue,
    search: Option<Value>,
}

async fn start(options: SandboxOptions) -> Sandbox {
    Sandbox::start(options).await.unwrap()
}

async fn get(url: &str) -> (u16, String) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn capability(sandbox: &Sandbox) -> BTreeMap<String, bool> {
    let (status, body) = get(&format!("{}/metadata", sandbox.base_url())).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["fhirVersion"]), (200, &Value::from("4.0.1")));
    let resources = body["rest"][0]["resource"].as_array().unwrap();
    resources
        .iter()
        .map(|r| {
            (
                r["type"].as_str().unwrap().to_owned(),
                r["searchParam"].is_array(),
            )
        })
        .collect()
}

/// All resources of a search, compact, in the order served; asserts that no link comes twice.
async fn walk(first: String) -> Vec<Vec<u8>> {
    let (mut found, mut seen, mut next) = (Vec::new(), BTreeSet::new(), Some(first));
    while let Some(url) = next {
        let (status, body) = get(&url).await;
        assert_eq!(status, 200);
        assert!(seen.insert(url), "a link came twice");
        assert_eq!(
            body.contains('\n'),
            seen.len().is_multiple_of(3),
            "every third page is indented"
        );
        let bundle: Bundle<'_> = serde_json::from_str(&body).unwrap();
        for entry in &bundle.entry {
            let mode = entry
                .search
                .as_ref()
                .and_then(|search| search["mode"].as_str());
            if mode != Some("outcome") {
                found.push(compact(entry.resource.get().as_bytes()));
            }
        }
        next = bundle
            .link
            .iter()
            .find(|link| link["relation"] == "next")
            .map(|link| link["url"].clone());
    }
    found
}

fn search(sandbox: &Sandbox, ty: &str, patient: &str) -> String {
    format!("{}/{ty}?patient={patient}&_count=20", sandbox.base_url())
}

/// Pulls a patient as a simple client would, with the shared resources that the oracle names.
async fn pull(sandbox: &Sandbox, patient: &str) -> BTreeMap<Key, Vec<u8>> {
    let mut pulled = BTreeMap::new();
    let mut keep = |raw: Vec<u8>| {
        let head: Value = serde_json::from_slice(&raw).unwrap();
        if let (Some(ty), Some(id)) = (head["resourceType"].as_str(), head["id"].as_str()) {
            pulled.insert((ty.to_owned(), id.to_owned()), raw);
        }
    };
    for (ty, _) in capability(sandbox)
        .await
        .into_iter()
        .filter(|(_, searched)| *searched)
    {
        walk(search(sandbox, &ty, patient))
            .await
            .into_iter()
            .for_each(&mut keep);
    }
    for (ty, id) in sandbox.portal().expected(patient).into_keys() {
        if [
            "Patient",
            "Location",
            "Medication",
            "Organization",
            "Practitioner",
            "PractitionerRole",
        ]
        .contains(&&*ty)
        {
            keep(
                get(&format!("{}/{ty}/{id}", sandbox.base_url()))
                    .await
                    .1
                    .into_bytes(),
            );
        }
    }
    pulled
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_finds_exactly_the_oracle() {
    let sandbox = start(SandboxOptions::default()).await;
    let patients = sandbox.patients();
    assert_eq!(
        patients
            .iter()
            .filter(|patient| patient.has_history)
            .count(),
        15
    );
    let mut counts = Vec::new();
    for patient in [&patients[11].id, &patients[12].id, EDGE_CASE_PATIENT] {
        let expected = sandbox.portal().expected(patient);
        assert!(
            expected == pull(&sandbox, patient).await,
            "the pull differs from the oracle"
        );
        counts.push(expected.len());
    }
    assert_eq!(counts, [338, 466, 27]);
    let served: usize = sandbox
        .portal()
        .log()
        .iter()
        .map(|entry| entry.resources.len())
        .sum();
    assert!(served > counts.iter().sum());
}

#[tokio::test]
async fn the_edge_cases_are_served_whole() {
    let sandbox = start(SandboxOptions::default()).await;
    let found = walk(search(&sandbox, "Observation", EDGE_CASE_PATIENT)).await;
    let count = |part: &str| {
        found
            .iter()
            .filter(|raw| String::from_utf8_lossy(raw).contains(part))
            .count()
    };
    assert_eq!(count("same-id-two-versions"), 2);
    assert_eq!(count("no-meta-v1"), 2);
    assert_eq!(count("no-resource-type"), 1);
    assert_eq!(count("no id at all"), 1);
    assert_eq!(count("500.000000"), 1);
    let expected = sandbox.portal().expected(EDGE_CASE_PATIENT);
    let newest =
        |id: &str| String::from_utf8(expected[&("Observation".into(), id.into())].clone()).unwrap();
    assert!(newest("same-id-two-versions").contains("\"v2\""));
    assert!(newest("no-meta-v1").contains("\"valueInteger\":2"));
    let types = capability(&sandbox).await;
    assert_eq!(
        (
            types["Observation"],
            types["BodyComposition"],
            types["Questionnaire"]
        ),
        (true, false, false)
    );
    assert_eq!(
        get(&search(&sandbox, "Questionnaire", EDGE_CASE_PATIENT))
            .await
            .0,
        400
    );
    assert_eq!(
        get(&search(&sandbox, "Nonsense", EDGE_CASE_PATIENT))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn extras_puts_and_removals_show() {
    let odd_id = "a b/ü%?#&é".to_owned() + &"x".repeat(100);
    let url_id: String = url::form_urlencoded::byte_serialize(odd_id.as_bytes()).collect();
    let url_id = url_id.replace('+', "%20");
    let patient = format!(r#"{{"resourceType": "Patient", "id": "{odd_id}", "n": 1.10}}"#);
    let canary = format!(
        r#"{{"resourceType":"Flag","id":"f","subject":{{"reference":"Patient/{odd_id}"}}}}"#
    );
    let sandbox = start(SandboxOptions {
        extra: vec![patient.clone(), canary.clone()],
        ..Default::default()
    })
    .await;
    let (base, portal) = (sandbox.base_url(), sandbox.portal());
    assert_eq!(
        get(&format!("{base}/Patient/{url_id}")).await,
        (200, patient)
    );
    assert_eq!(
        walk(search(&sandbox, "Flag", &url_id)).await,
        [canary.as_bytes()]
    );
    assert_eq!(portal.expected(&odd_id).len(), 2);

    portal.put(r#"{"resourceType":"Flag","id":"f","status":"active"}"#);
    portal.put(r#"{"resourceType":"Flag","id":"g","subject":{"reference":"Patient/12345"}}"#);
    assert_eq!(
        portal.expected(&odd_id)[&("Flag".into(), "f".into())].len(),
        50
    );
    assert!(portal.remove("Flag", "f") && !portal.remove("Flag", "f"));
    assert_eq!(get(&format!("{base}/Flag/f")).await.0, 410);
    assert_eq!(get(&format!("{base}/Flag/other")).await.0, 404);
    assert_eq!(walk(search(&sandbox, "Flag", &url_id)).await.len(), 0);
    portal.put(r#"{"resourceType":"Flag","id":"f"}"#);
    assert_eq!(walk(search(&sandbox, "Flag", &url_id)).await.len(), 1);
    assert!(
        Sandbox::start(SandboxOptions {
            extra: vec!["[]".into()],
            ..Default::default()
        })
        .await
        .is_err()
    );
}

fn logged(portal: &Portal) -> Vec<(u64, u16, usize)> {
    portal
        .log()
        .iter()
        .map(|entry| (entry.seq, entry.status, entry.resources.len()))
        .collect()
}

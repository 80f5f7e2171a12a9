//! A patient's record over the API: what the portal has, whole, also page by page
//! while pulls settle, without the server growing with it, and as an outside parser
//! of FHIR takes it.
//!
//! `CHARTLIFT_RECORD_RESOURCES` makes it larger (`cargo xtask soak record`: 20,000).

mod large;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, python, repository, skipped};
use model::content_hash;
use serde_json::Value;
use serde_json::value::RawValue;

const LIMIT: Duration = Duration::from_secs(300);
const PATIENT: &str = "12345";

/// `full URL → content hash`, of a page; and its total and next link.
pub(crate) struct Page {
    pub(crate) entries: BTreeMap<String, String>,
    count: usize,
    total: u64,
    next: Option<String>,
}

#[derive(serde::Deserialize)]
struct Bundle<'a> {
    total: u64,
    link: Value,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    full_url: String,
    #[serde(borrow)]
    resource: &'a RawValue,
}

pub(crate) async fn page(api: &(String, String), path: &str) -> Result<Page> {
    let (url, key) = api;
    let request = reqwest::Client::new()
        .get(format!("{url}{path}"))
        .bearer_auth(key);
    let reply = request.send().await?.error_for_status()?;
    ensure!(reply.headers()["content-type"] == "application/fhir+json");
    let text = reply.text().await?;
    let bundle: Bundle<'_> = serde_json::from_str(&text).context("read a Bundle")?;
    let links = bundle.link.as_array().context("links")?;
    let next = links.iter().find(|link| link["relation"] == "next");
    Ok(Page {
        count: bundle.entry.len(),
        total: bundle.total,
        next: next
            .and_then(|link| link["url"].as_str())
            .map(str::to_owned),
        entries: bundle
            .entry
            .into_iter()
            .map(|entry| {
                let hash = content_hash(entry.resource.get().as_bytes()).to_string();
                (entry.full_url, hash)
            })
            .collect(),
    })
}

/// What the portal has of a patient: full URL to content hash.
pub(crate) fn expected(app: &App, patient: &str) -> BTreeMap<String, String> {
    let base = app.sandbox.base_url();
    let port = base.port().unwrap_or_default();
    let resources = app.sandbox.portal().expected(patient).into_iter();
    resources
        .map(|((ty, id), text)| {
            let url = format!("https://127.0.0.1:{port}{}/{ty}/{id}", base.path());
            (url, content_hash(&text).to_string())
        })
        .collect()
}

fn change(app: &App, round: u32) {
    let portal = app.sandbox.portal();
    for id in ["kept", &format!("new-{round}")] {
        portal.put(&format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/{PATIENT}"}},"valueInteger":{round}}}"#
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_whole_and_its_pages_hold_still() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let api = app.api().await?;
    change(&app, 1);
    let connections = app.connect(&[PATIENT]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let first = expected(&app, PATIENT);
    let path = "/v1/patients/test-0/$everything";
    let whole = page(&api, path).await?;
    ensure!(whole.entries == first && whole.count == first.len() && whole.next.is_none());
    ensure!(whole.total == first.len() as u64);

    // A pull settles between each page and the next.
    let (mut paged, mut next, mut round) = (BTreeMap::new(), Some(format!("{path}?_count=7")), 1);
    let since = model::Timestamp::now();
    while let Some(path) = next {
        let page = page(&api, &path).await?;
        ensure!(page.count <= 7 && page.total == whole.total);
        let before = paged.len();
        paged.extend(page.entries);
        ensure!(
            paged.len() == before + page.count,
            "a page repeats an entry"
        );
        next = page.next;
        if round < 4 {
            round += 1;
            change(&app, round);
            app.sandbox
                .portal()
                .remove("Observation", &format!("new-{}", round - 1));
            app.pull(&connections).await?;
            app.idle(LIMIT).await?;
        }
    }
    ensure!(paged == first, "the pages are not the record as it was");
    ensure!(page(&api, path).await?.entries == expected(&app, PATIENT));

    let recent = page(&api, &format!("{path}?_since={since}")).await?;
    let changed = ["Observation/kept", "Observation/new-4"];
    ensure!(
        recent.entries.len() == 2
            && recent
                .entries
                .keys()
                .all(|url| changed.iter().any(|id| url.ends_with(id)))
    );
    let observations = page(&api, "/v1/patients/test-0/resources/Observation").await?;
    let typed = page(&api, &format!("{path}?_type=Observation")).await?;
    ensure!(observations.entries == typed.entries && !typed.entries.is_empty());
    let mine = format!("{path}?connection_id={}&_count=5", connections[0]);
    let mine = page(&api, &mine).await?;
    ensure!(mine.total == expected(&app, PATIENT).len() as u64);
    let next = mine.next.context("a next page")?;
    ensure!(next.contains(&connections[0].to_string()) && page(&api, &next).await?.count == 5);
    let other = format!("{path}?connection_id={}", model::ConnectionId::new());
    ensure!(page(&api, &other).await.is_err(), "a stranger's connection");
    app.verified().await?;
    app.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_parser_takes_the_bundles() -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with fhir.resources");
        return Ok(());
    };
    let mut app = App::start(AppOptions::default()).await?;
    let (url, key) = app.api().await?;
    // The smallest whole history of the sample: some edge cases beside it are no
    // valid R4, and are passed on as they are.
    let patients = app.sandbox.patients().into_iter();
    let sized =
        patients.map(|patient| (app.sandbox.portal().expected(&patient.id).len(), patient.id));
    let (size, patient) = sized
        .filter(|(size, id)| *size > 100 && id != PATIENT)
        .min()
        .context("the sample has histories")?;
    let connections = app.connect(&[&patient]).await?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let mut files = Vec::new();
    for (name, query) in [
        ("whole", ""),
        ("page", "?_count=50"),
        ("typed", "?_type=Observation"),
    ] {
        let path = format!("{url}/v1/patients/test-0/$everything{query}");
        let request = reqwest::Client::new().get(path).bearer_auth(&key);
        let text = request.send().await?.error_for_status()?.text().await?;
        let file = app.dir.path().join(format!("{name}.json"));
        std::fs::write(&file, text)?;
        files.push(file);
    }
    let ran = Command::new(python)
        .arg(repository().join("tests/it/api_record.py"))
        .args(&files)
        .output()
        .context("run Python")?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let types: BTreeMap<String, usize> = serde_json::from_str(&said)?;
    let taken: usize = types.values().sum();
    ensure!(taken >= size + 50, "{taken} of {size}: {types:?}");
    println!("the parser took {taken} entries of {} types", types.len());
    app.down()
}

//! Nobody gets the service to ask what only its own network should: neither by a
//! base URL, an object store's endpoint, a `next` link or a redirect, however the
//! address is spelled, nor by a name that changes its address. What is refused is
//! refused alike, whether somebody listens there or not.

mod portal;
mod vectors;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chartlift_tests::{ApiAnswer, ApiClient, App, AppOptions};
use db::{NewConnection, NewSource};
use guard::{Allow, Guard};
use model::{ConnectionId, RunState, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::ssrf::portal::{ClosedPort, Portal, Trap};
use crate::ssrf::vectors::{HOSTS, TRICKS};

const LIMIT: Duration = Duration::from_secs(60);
/// What stands for the public internet here; all else on this machine is refused.
const PUBLIC: &str = "127.0.0.2";

/// The same request of an open port and of a closed one, and what came of it.
struct Pair {
    what: String,
    /// Spelt in a way that may be no address at all.
    is_trick: bool,
    answers: [ApiAnswer; 2],
    took: [Duration; 2],
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_names_an_address_learns_nothing_of_it() -> Result<()> {
    let app = App::prepare(AppOptions {
        no_source: true,
        ..AppOptions::with(&[("guard.allow", PUBLIC)])
    })
    .await?;
    let key = app.api_key("asking", Scope::ALL).await?;
    let api = app.api_process("api").await?;
    let client = api.client(&key);
    let (open, closed_port) = (Trap::open().await?, ClosedPort::take()?);
    let closed = closed_port.port()?;

    let body = json!({ "name": "public", "base_url": format!("http://{PUBLIC}:{closed}/fhir") });
    let source = client.post("/v1/sources", &body).await?;
    ensure!(source.status == 201, "{source:?}");
    let id = source.json()?["id"].as_str().context("an id")?.to_owned();

    let mut pairs = Vec::new();
    let hosts = HOSTS.iter().map(|host| (host, false));
    for (host, is_trick) in hosts.chain(TRICKS.iter().map(|host| (host, true))) {
        for way in ["a new source", "a source", "a destination"] {
            let (mut answers, mut took) = (Vec::new(), Vec::new());
            for port in [open.port(), closed] {
                let started = Instant::now();
                answers.push(named(&client, way, &format!("http://{host}:{port}"), &id).await?);
                took.push(started.elapsed());
            }
            pairs.push(Pair {
                what: format!("{way} at {host}"),
                is_trick,
                answers: answers.try_into().ok().context("two answers")?,
                took: took.try_into().ok().context("two times")?,
            });
        }
    }
    let mut times = [Vec::new(), Vec::new()];
    for pair in &pairs {
        let [of_open, of_closed] = [&pair.answers[0], &pair.answers[1]].map(told);
        let (status, code, detail) = &of_open;
        // Some spellings are refused before they are an address.
        let is_no_address = pair.is_trick && code == "invalid_value";
        ensure!(
            *status == 422 && (code == "address_refused" || is_no_address),
            "{}: {status} {code} {detail}",
            pair.what
        );
        ensure!(
            of_open == of_closed,
            "{}: {of_open:?} or {of_closed:?}",
            pair.what
        );
        for (times, took) in times.iter_mut().zip(pair.took) {
            times.push(took);
        }
    }
    ensure!(open.count() == 0, "{} connections were made", open.count());
    let [of_open, of_closed] = times.map(median);
    println!(
        "FIGURES: {}",
        json!({
            "refused": 2 * pairs.len(),
            "median_us_open": of_open.as_micros(),
            "median_us_closed": of_closed.as_micros(),
        })
    );
    ensure!(
        of_open.abs_diff(of_closed) < Duration::from_millis(50),
        "{of_open:?} and {of_closed:?}"
    );
    api.kill()
}

/// Names an address to the API.
async fn named(client: &ApiClient, way: &str, url: &str, source: &str) -> Result<ApiAnswer> {
    match way {
        "a new source" => {
            let body = json!({ "name": "inside", "base_url": format!("{url}/fhir") });
            client.post("/v1/sources", &body).await
        }
        "a source" => {
            let body = json!({ "base_url": format!("{url}/fhir") });
            let path = format!("/v1/sources/{source}");
            client.ask(Method::PATCH, &path, Some(&body)).await
        }
        _ => {
            let body = json!({
                "name": "inside", "location": "s3://bucket/prefix", "format": "ndjson",
                "credentials": {
                    "access_key_id": "id", "secret_access_key": "key", "endpoint": url, "allow_http": true,
                },
            });
            client.post("/v1/destinations", &body).await
        }
    }
}

/// What an answer tells, its request's id aside.
fn told(answer: &ApiAnswer) -> (u16, String, String) {
    let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (answer.status, member("code"), member("detail"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A portal that may be asked leads elsewhere, by links and by redirects.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_leads_nowhere_else() -> Result<()> {
    let (open, closed) = (Trap::open().await?, ClosedPort::take()?);
    let mut targets = Vec::new();
    for host in HOSTS.iter().chain(TRICKS) {
        for port in [open.port(), closed.port()?] {
            targets.push(format!("http://{host}:{port}/fhir/Observation?page=2"));
        }
    }
    let portal = Portal::start(PUBLIC, 0, targets.clone()).await?;
    let base = portal.base_url("leading");
    let client = source::SourceClient::new(
        base.parse()?,
        source::Auth::None,
        source::Limits::default(),
        &Guard::new(Allow::parse(&[PUBLIC])?),
    )?;
    for way in ["next", "redirect"] {
        let mut told = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let url = format!("{base}/Observation?patient={way}-{number}&_count=5");
            let error = client.page(&url).await.err();
            let error = error.with_context(|| format!("{way} to {target} was followed"))?;
            ensure!(
                matches!(
                    error,
                    source::Error::ForeignLink { .. } | source::Error::Protocol { .. }
                ),
                "{way} to {target}: {error}"
            );
            told.push(error.to_string());
        }
        for (targets, told) in targets.chunks(2).zip(told.chunks(2)) {
            ensure!(told[0] == told[1], "{way} to {targets:?}: {told:?}");
        }
    }
    ensure!(open.count() == 0, "{} connections were made", open.count());
    println!(
        "FIGURES: {}",
        json!({ "links_and_redirects_refused": 2 * targets.len() })
    );
    Ok(())
}

/// Whole pulls: two that are led elsewhere, and one from a name whose address
/// changes after it was added.
#[tokio::test(flavor = "multi_thread")]
async fn pulls_that_are_led_astray_end_with_a_code() -> Result<()> {
    let mut app = App::prepare(AppOptions {
        no_source: true,
        ..AppOptions::default()
    })
    .await?;
    let (open, closed) = (Trap::open().await?, ClosedPort::take()?);
    let targets = [open.port(), closed.port()?].map(|port| format!("http://127.0.0.1:{port}/next"));
    // The portal's port at the address that is refused.
    let twin = Trap::open().await?;
    let portal = Portal::start(PUBLIC, twin.port(), targets.to_vec()).await?;

    let asked = Arc::new(AtomicUsize::new(0));
    let lookups = Arc::clone(&asked);
    let guard = Guard::with_lookup(
        Allow::parse(&[PUBLIC])?,
        Arc::new(move |_name: String| -> guard::Found {
            let first = lookups.fetch_add(1, Ordering::Relaxed) == 0;
            let address = if first { PUBLIC } else { "127.0.0.1" };
            let found = vec![address.parse().expect("an address")];
            Box::pin(async move { Ok(found) })
        }),
    );
    app.core.guard = guard;
    let renamed = format!("http://portal.example:{}", portal.port());
    let mut connections = Vec::new();
    for way in ["next-0", "next-1", "redirect-0", "redirect-1"] {
        connections.push(connect(&app, way, &portal.base_url(way)).await?);
    }
    connections.push(connect(&app, "renamed-0", &format!("{renamed}/fhir")).await?);
    let pulls = app.pull(&connections).await?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let working = worker::run(app.core.clone(), app.temporal.client().await?, async {
        let _ = ended.await;
    });
    tokio::pin!(working);
    tokio::select! {
        worked = &mut working => bail!("the worker ended: {worked:?}"),
        idle = app.idle(LIMIT) => idle?,
    }
    let _ = end.send(());
    working.await?;

    let mut told = Vec::new();
    for pull in &pulls {
        let row = app.core.db.pull(*pull).await?;
        let types = app.core.db.pull_types(*pull).await?;
        let of = types.iter().find(|of| of.resource_type == "Observation");
        let of = of.map(|of| (of.outcome.as_str(), of.error_code.clone()));
        told.push((row.state, row.error_code, of));
    }
    for way in [&told[..2], &told[2..4]] {
        ensure!(
            way[0] == way[1],
            "an open and a closed port differ: {way:?}"
        );
    }
    let truncated = Some(("truncated", Some("foreign_link".to_owned())));
    ensure!(
        told[..4]
            .iter()
            .all(|(state, _, of)| *state == RunState::Partial && *of == truncated),
        "{told:?}"
    );
    let (state, code, _) = &told[4];
    ensure!(
        *state == RunState::Failed && code.as_deref() == Some(guard::ADDRESS_REFUSED),
        "{told:?}"
    );
    ensure!(
        asked.load(Ordering::Relaxed) > 1,
        "the name was not asked for again"
    );
    ensure!(open.count() + twin.count() == 0, "a connection was made");
    Ok(())
}

/// A connection at a source of its own.
async fn connect(app: &App, name: &str, base_url: &str) -> Result<ConnectionId> {
    let db = &app.core.db;
    let url: url::Url = base_url.parse()?;
    activities::register::check_base_url(&app.core.guard, &url).await?;
    let source = NewSource::new(name, url.as_str(), &source::identity(&url));
    let new = NewConnection {
        patient_id: db.ensure_patient(name).await?,
        source_id: db.add_source(&source).await?,
        source_patient_id: name.to_owned(),
        token: None,
    };
    Ok(db.add_connection(&new).await?)
}

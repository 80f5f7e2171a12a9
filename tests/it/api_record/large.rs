//! A large record: the server does not grow with it, and its pages hold still.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, generated_patient, number};
use model::{ConnectionId, Scope};
use sandbox::SandboxOptions;
use serde_json::json;

use super::{LIMIT, expected, page};

/// A small record, beside which a large one must not need more memory than this.
const SMALL: u64 = 200;
const GROWTH_MAX: u64 = 16 << 20;

/// The peak memory of a new API that gives a patient's record, whole and in pages.
async fn peak_of(app: &App, patient: &str, count: u64) -> Result<u64> {
    let mut process = app.api_process(&format!("api-of-{patient}")).await?;
    let key = app.api_key("reading", &[Scope::Phi]).await?;
    let api = (process.url().to_owned(), key);
    let path = format!("/v1/patients/{patient}/$everything");
    for _ in 0..3 {
        let whole = page(&api, &path).await?;
        ensure!(whole.count as u64 >= count, "{} of {count}", whole.count);
    }
    let mut next = Some(format!("{path}?_count=1000"));
    while let Some(path) = next {
        next = page(&api, &path).await?.next;
    }
    let (_, peak) = process.node().memory_bytes()?;
    process.kill()?;
    Ok(peak)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_record_does_not_make_the_server_grow() -> Result<()> {
    let count = number("CHARTLIFT_RECORD_RESOURCES", 2_000);
    let mut extra = generated_patient("large", count, 1);
    extra.extend(generated_patient("small", SMALL, 2));
    let mut app = App::prepare(AppOptions {
        sandbox: SandboxOptions {
            page_size: 200,
            extra,
            ..SandboxOptions::default()
        },
        ..AppOptions::default()
    })
    .await?;
    let connections = app.connect(&["large", "small"]).await?;
    app.work(&[])?;
    app.pull(&connections).await?;
    app.idle(LIMIT).await?;
    let small = peak_of(&app, "test-1", SMALL).await?;
    let large = peak_of(&app, "test-0", count).await?;

    // In pages while pulls of it settle: it is the record as it was.
    let process = app.api_process("api-in-between").await?;
    let api = (
        process.url().to_owned(),
        app.api_key("reading", &[Scope::Phi]).await?,
    );
    let rounds = pages_while_pulls_settle(&mut app, &api, connections[0], count).await?;
    process.kill()?;
    app.verified().await?;
    println!(
        "FIGURES: {}",
        json!({
            "resources": count,
            "peak_kib_of_a_small_record": small >> 10,
            "peak_kib_of_the_large_record": large >> 10,
            "pulls_settled_between_pages": rounds,
        })
    );
    ensure!(
        large < small + GROWTH_MAX,
        "{small} bytes at most for a small record, {large} for a large one"
    );
    app.down()
}

/// Reads a large record in ten pages; between them its portal changes and is pulled.
async fn pages_while_pulls_settle(
    app: &mut App,
    api: &(String, String),
    connection: ConnectionId,
    count: u64,
) -> Result<u32> {
    let first = expected(app, "large");
    let path = "/v1/patients/test-0/$everything";
    let (mut paged, mut rounds) = (BTreeMap::new(), 0);
    let mut next = Some(format!("{path}?_count={}", count.div_ceil(10).min(1000)));
    while let Some(path) = next {
        let page = page(api, &path).await?;
        ensure!(page.total == first.len() as u64, "{} in all", page.total);
        let before = paged.len();
        paged.extend(page.entries);
        ensure!(
            paged.len() == before + page.count,
            "a page repeats an entry"
        );
        next = page.next;
        if rounds < 3 {
            rounds += 1;
            for number in 1..50 {
                app.sandbox.portal().put(&format!(
                    r#"{{"resourceType":"Observation","id":"new-{number}","status":"final","subject":{{"reference":"Patient/large"}},"valueInteger":{rounds}}}"#
                ));
            }
            let gone = format!("large-{rounds}");
            for ty in ["Observation", "Encounter", "Condition", "Procedure"] {
                app.sandbox.portal().remove(ty, &gone);
            }
            app.pull(&[connection]).await?;
            app.idle(LIMIT).await?;
        }
    }
    ensure!(paged == first, "the pages are not the record as it was");
    let now = page(api, path).await?;
    ensure!(
        now.entries == expected(app, "large"),
        "the record as it is now"
    );
    Ok(rounds)
}

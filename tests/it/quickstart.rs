//! `docs/quickstart.md`, every command as it stands there, but for the first block,
//! which says where things are.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, python, repository, skipped};

/// The shell blocks of a page, in order.
fn blocks(page: &str) -> Vec<&str> {
    page.split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_quickstart_works() -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with DuckDB");
        return Ok(());
    };
    let mut app = App::start(AppOptions {
        no_source: true,
        ..AppOptions::default()
    })
    .await?;
    let (url, key) = app.api().await?;
    let page = std::fs::read_to_string(repository().join("docs/quickstart.md"))?;
    let blocks = blocks(&page);
    ensure!(blocks.len() == 7, "{} blocks", blocks.len());

    let lake = app.dir.path().join("lake");
    let mut script = format!(
        "set -euo pipefail\nAPI={url}\nKEY={key}\nPORTAL={}\nLAKE='{}'\npython3() {{ '{}' \"$@\"; }}\n",
        app.sandbox.base_url(),
        lake.display(),
        python.display()
    );
    script.push_str(&blocks[1..].join("\n"));
    let ran = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .output()
        .context("run bash")?;
    let (out, error) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    ensure!(ran.status.success(), "{}\n{out}\n{error}", ran.status);
    for word in [
        "\"state\":\"completed\"",
        "searchset",
        "Observation",
        "resource_type",
    ] {
        ensure!(out.contains(word), "no {word} in {out}");
    }
    let told = app.core.db.audit(None, 100).await?;
    let delivered: Vec<_> = told
        .iter()
        .filter(|of| of.action == "record.deliver")
        .collect();
    ensure!(
        delivered.len() == 1 && delivered[0].detail["patients"] == 1,
        "what was disclosed is not in the audit log: {told:?}"
    );
    app.verified().await?;
    app.down()
}

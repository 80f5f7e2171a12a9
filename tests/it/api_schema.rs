//! The API, asked by Schemathesis after its own OpenAPI document: no answer is an
//! error of the server, each is as the document says, and what the document forbids
//! is refused.
//!
//! `CHARTLIFT_SEEDS` and `CHARTLIFT_EXAMPLES` make it longer.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, AppOptions, number, python, repository, skipped};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says() -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with Schemathesis");
        return Ok(());
    };
    let mut app = App::start(AppOptions::default()).await?;
    let (url, key) = app.api().await?;
    let (seeds, examples) = (
        number("CHARTLIFT_SEEDS", 1),
        number("CHARTLIFT_EXAMPLES", 20),
    );
    for seed in 1..=seeds {
        let ran = Command::new(python.with_file_name("st"))
            .args(["--config-file", "tests/it/schemathesis.toml", "run"])
            .arg(format!("{url}/v1/openapi.json"))
            .args(["--checks", "all", "--mode", "all"])
            .args(["--phases", "examples,coverage,fuzzing,stateful"])
            .args([
                "--max-examples",
                &examples.to_string(),
                "--seed",
                &seed.to_string(),
            ])
            .args(["--header", &format!("Authorization: Bearer {key}")])
            .arg("--no-color")
            .current_dir(repository())
            .output()
            .context("run Schemathesis")?;
        let out = String::from_utf8_lossy(&ran.stdout);
        ensure!(
            ran.status.success(),
            "seed {seed}: {}\n{out}\n{}",
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        );
        ensure!(
            out.contains("Tested: 37"),
            "not all operations were tested:\n{out}"
        );
    }
    app.down()
}

//! The API, asked by Schemathesis after its own OpenAPI document: no answer is an
//! error of the server, each is as the document says, what the document forbids is
//! refused, and no operation stays untried. A key that may only read asks as well.
//!
//! `CHARTLIFT_SEEDS` and `CHARTLIFT_EXAMPLES` make it longer (`cargo xtask soak
//! api-schema`: 4 seeds of 200).

mod world;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{number, python, repository, skipped};
use serde_json::{Value, json};

use crate::api_schema::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says() -> Result<()> {
    let Some(python) = python() else {
        skipped("CHARTLIFT_PYTHON names no Python with Schemathesis");
        return Ok(());
    };
    let (first, seeds) = (number("CHARTLIFT_SEED", 1), number("CHARTLIFT_SEEDS", 1));
    for seed in first..first + seeds {
        // What is there is used up: deletions are decided on, keys revoked.
        let world = World::create(seed).await?;
        let said = schemathesis(&python.with_file_name("st"), &world, seed)?;
        let document: Value = serde_json::from_str(&world.document().await?)?;
        let operations = operations(&document);
        for line in [
            format!("Selected: {operations}/{operations}"),
            format!("Tested: {operations}"),
        ] {
            ensure!(said.contains(&line), "seed {seed}: not `{line}`:\n{said}");
        }
        ensure!(!said.contains("Warnings:"), "seed {seed}:\n{said}");
        println!(
            "FIGURES: {}",
            json!({ format!("seed {seed}"): { "seeds": 1, "operations": operations, "cases": cases(&said) } })
        );
        world.end().await?;
    }
    Ok(())
}

/// Runs it; returns what it says at its end.
fn schemathesis(program: &Path, world: &World, seed: u64) -> Result<String> {
    let examples = number("CHARTLIFT_EXAMPLES", 20);
    let ran = Command::new(program)
        .arg("--config-file")
        .arg(world.config())
        .args(["run", &format!("{}/v1/openapi.json", world.url())])
        .args(["--checks", "all", "--mode", "all"])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--max-examples", &examples.to_string()])
        .args(["--seed", &seed.to_string(), "--no-color"])
        .env("CHARTLIFT_PEERS", world.peers())
        .env("CHARTLIFT_FOLDER", world.folder())
        .env("CHARTLIFT_CONNECTED", world.connected())
        .env(
            "CHARTLIFT_HOOKS",
            repository().join("tests/it/schemathesis_hooks.py"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // It leaves its own notes where it runs.
        .current_dir(world.dir())
        .output()
        .context("run Schemathesis")?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    ensure!(
        ran.status.success(),
        "seed {seed}: {}\n{said}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(said)
}

/// How many operations a document has.
fn operations(document: &Value) -> usize {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .filter_map(|(_, item)| item.as_object())
        .flat_map(|item| item.keys())
        .filter(|name| ["get", "put", "post", "patch", "delete"].contains(&name.as_str()))
        .count()
}

/// How many requests were made up.
fn cases(said: &str) -> u64 {
    let line = said
        .lines()
        .find_map(|line| line.trim().split_once(" generated"));
    line.and_then(|(count, _)| count.replace(',', "").parse().ok())
        .unwrap_or(0)
}

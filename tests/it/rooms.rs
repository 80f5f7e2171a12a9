//! The arrows between the rooms go one way, and workflows touch nothing.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::repository;
use serde_json::Value;

/// Each room and the rooms it may name.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "activities",
        &[
            "db",
            "destination",
            "formats",
            "guard",
            "model",
            "objects",
            "records",
            "source",
            "steps",
        ],
    ),
    ("api", &["db", "model", "records", "steps"]),
    ("config", &[]),
    ("db", &["model", "seal"]),
    ("destination", &["guard", "model", "objects"]),
    ("formats", &["model"]),
    ("guard", &[]),
    ("model", &[]),
    ("objects", &["guard"]),
    ("postgres-server", &[]),
    ("records", &["guard", "model", "objects"]),
    ("sandbox", &[]),
    ("seal", &[]),
    ("source", &["guard", "model"]),
    ("steps", &["model"]),
    (
        "worker",
        &[
            "activities",
            "config",
            "db",
            "destination",
            "guard",
            "model",
            "objects",
            "records",
            "seal",
            "steps",
            "workflows",
        ],
    ),
    ("workflows", &["model", "steps"]),
];

/// The direct dependencies of a package of this workspace, by `cargo metadata`.
fn dependencies(package: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(repository().join("Cargo.toml"))
        .output()
        .context("run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package = packages
        .iter()
        .find(|of| of["name"] == package)
        .with_context(|| format!("no package {package}"))?;
    let dependencies = package["dependencies"]
        .as_array()
        .context("dependencies")?
        .iter();
    // A normal dependency has no kind.
    Ok(dependencies
        .filter(|of| of["kind"].is_null())
        .filter_map(|of| of["name"].as_str().map(str::to_owned))
        .collect())
}

#[test]
fn arrows_between_rooms_go_one_way() -> Result<()> {
    for (room, allowed) in ARROWS {
        for named in dependencies(&format!("chartlift-{room}"))? {
            let Some(other) = named.strip_prefix("chartlift-") else {
                continue;
            };
            ensure!(
                allowed.contains(&other),
                "{room} names {other}: the arrow is not in ARCHITECTURE.md"
            );
        }
    }
    Ok(())
}

#[test]
fn workflows_name_three_crates_and_nothing_of_the_world() -> Result<()> {
    let named = dependencies("chartlift-workflows")?;
    let allowed = ["chartlift-model", "chartlift-steps", "temporalio-workflow"];
    ensure!(
        named.iter().all(|name| allowed.contains(&name.as_str())),
        "{named:?}"
    );
    for entry in std::fs::read_dir(repository().join("workflows/src"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        for module in ["fs", "net", "process", "thread", "env"] {
            ensure!(
                !text.contains(&format!("std::{module}")),
                "{} uses std::{module}",
                path.display()
            );
        }
    }
    Ok(())
}

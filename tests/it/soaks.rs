//! The long runs were run: their results are committed and passed.

use anyhow::{Context, Result, ensure};
use chartlift_tests::repository;

const SOAKS: &[&str] = &[
    "segments-fuzz",
    "bench",
    "kills",
    "memory",
    "endurance",
    "idempotency",
    "record",
    "outages",
    "api-schema",
    "servers",
    "tokens",
    "throughput",
    "pulls",
    "portals",
];

#[test]
fn every_soak_has_a_committed_result_that_passed() -> Result<()> {
    for name in SOAKS {
        let path = repository().join(format!("bench/results/{name}.json"));
        let text =
            std::fs::read(&path).with_context(|| format!("run `cargo xtask soak {name}`"))?;
        let result: serde_json::Value = serde_json::from_slice(&text)?;
        ensure!(
            result["verdict"] == "passed",
            "{name}: {}",
            result["verdict"]
        );
        for field in ["command", "seed", "commit", "machine", "figures"] {
            ensure!(!result[field].is_null(), "{name} has no {field}");
        }
    }
    Ok(())
}

#[test]
fn both_commands_of_the_readme_passed_on_a_fresh_machine() -> Result<()> {
    let path = repository().join("bench/results/fresh.json");
    let text = std::fs::read(&path).context("run `cargo xtask fresh`")?;
    let result: serde_json::Value = serde_json::from_slice(&text)?;
    ensure!(result["verdict"] == "passed", "{}", result["verdict"]);
    ensure!(result["figures"]["tests_failed"] == 0, "{result}");
    Ok(())
}

//! `cargo xtask soak NAME`: the long runs, and their results as files.
//!
//! A run may print `FIGURES: {…}` lines, or one JSON object as its last line;
//! either ends up under `figures`.

use crate::machine::{commit, machine, write_result};
use crate::outcome::Tally;
use crate::stage::{self, announce, minutes};
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// One of the long runs.
struct Soak {
    name: &'static str,
    about: &'static str,
    /// The arguments of cargo.
    arguments: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// What must have been seen, besides the exit code.
    proof: Proof,
    limit_min: u64,
}

/// What shows that a run did what its name says.
#[derive(PartialEq)]
enum Proof {
    /// At least one test ran.
    Tests,
    /// It reported figures.
    Figures,
}

const SOAKS: [Soak; 2] = [
    Soak {
        name: "segments-fuzz",
        about: "a million broken segment files: each is read or refused, none panics",
        arguments: &[
            "test",
            "--release",
            "-p",
            "chartlift-records",
            "fuzz",
            "--",
            "--nocapture",
        ],
        env: &[("CHARTLIFT_FUZZ_EXECUTIONS", "1000000")],
        proof: Proof::Tests,
        limit_min: 120,
    },
    Soak {
        name: "bench",
        about: "the benchmarks, beside their peers",
        arguments: &[
            "run",
            "--release",
            "-p",
            "chartlift-bench",
            "--",
            "all",
            "--json",
        ],
        env: &[],
        proof: Proof::Figures,
        limit_min: 120,
    },
];

/// What `cargo xtask soak` is asked.
#[derive(Args)]
#[command(after_help = names())]
pub(crate) struct Options {
    /// Which run.
    name: String,
    /// Where its random choices start (CHARTLIFT_SEED); a failing seed fails again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn names() -> String {
    let line = |soak: &Soak| format!("  {:<14} {}\n", soak.name, soak.about);
    format!("Runs:\n{}", SOAKS.iter().map(line).collect::<String>())
}

/// Runs one; true if it passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == options.name) else {
        bail!("there is no run `{}`\n{}", options.name, names());
    };
    let env: Vec<String> = soak
        .env
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let to_file = soak.arguments.last() == Some(&"--json");
    let out = if to_file { " OUT" } else { "" };
    let shown = format!("{} cargo {}{out}", env.join(" "), soak.arguments.join(" "));
    announce(soak.name, shown.trim());

    let mut cargo = Command::new("cargo");
    cargo.args(soak.arguments).envs(soak.env.iter().copied());
    cargo.env("CHARTLIFT_SEED", options.seed.to_string());
    // The place for a run that writes its figures to the path in its last
    // argument, `--json`.
    let file = std::env::temp_dir().join(format!(
        "chartlift-{}-{}.json",
        soak.name,
        std::process::id()
    ));
    if to_file {
        cargo.arg(&file);
    }
    let report = stage::run(cargo, Duration::from_secs(soak.limit_min * 60))?;
    let written = std::fs::read(&file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    std::fs::remove_file(&file).ok();

    let figures = figures(written, &report.tally);
    let proven = match soak.proof {
        Proof::Tests => report.tally.really_passed() > 0 && report.tally.left_out() == 0,
        Proof::Figures => figures
            .as_object()
            .is_some_and(|figures| !figures.is_empty()),
    };
    let passed = report.is_ok() && proven;
    let mut result = json!({
        "name": soak.name,
        "command": shown.trim(),
        "seed": options.seed,
        "machine": machine(),
        "figures": figures,
        "verdict": if passed { "passed" } else { "failed" },
        "ended": report.ended.to_string(),
        "minutes": minutes(report.took),
    });
    merge(&mut result, commit());
    let path = write_result(soak.name, &result)?;
    if report.is_ok() && !proven {
        println!(
            "it ended well but showed nothing: no test ran, one was skipped, or no figures came"
        );
    }
    println!(
        "{}: {} ({})",
        soak.name,
        result["verdict"].as_str().unwrap_or_default(),
        path.display()
    );
    Ok(passed)
}

/// A run's figures: its file, else its last line, else its `FIGURES:` lines
/// beside the counts of its tests.
fn figures(written: Option<Value>, tally: &Tally) -> Value {
    if let Some(object) = written.or_else(|| tally.last_object.clone()) {
        return object;
    }
    let mut figures = tally.figures.clone();
    if tally.passed + tally.failed > 0 {
        figures.insert("tests_passed".into(), tally.really_passed().into());
        figures.insert("tests_failed".into(), tally.failed.into());
    }
    Value::Object(figures)
}

/// Adds the members of `more` to `result`.
pub(crate) fn merge(result: &mut Value, more: Value) {
    if let (Value::Object(result), Value::Object(more)) = (result, more) {
        result.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beats_the_last_line_and_that_beats_figures() {
        let mut tally = Tally::default();
        tally.read("FIGURES: {\"executions\": 5}");
        tally.read("test result: ok. 1 passed; 0 failed; 0 ignored");
        let counted = json!({"executions": 5, "tests_passed": 1, "tests_failed": 0});
        assert_eq!(figures(None, &tally), counted);
        tally.read("{\"a\": 1}");
        assert_eq!(figures(None, &tally), json!({"a": 1}));
        assert_eq!(figures(Some(json!({"b": 2})), &tally), json!({"b": 2}));
    }
}

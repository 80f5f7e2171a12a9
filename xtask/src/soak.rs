//! `cargo xtask soak NAME`: the long runs, and their results as files.
//!
//! A run may print `FIGURES: {…}` lines, or one JSON object as its last line;
//! either ends up under `figures`.

use crate::machine::{commit, machine, write_result};
use crate::outcome::Tally;
use crate::postgres::Server;
use crate::seeds;
use crate::soaks::{SOAKS, Soak};
use crate::stage::{self, announce, minutes};
use crate::test::{Variable, postgres, system_env};
use crate::tools;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What `cargo xtask soak` is asked.
#[derive(Args)]
#[command(after_help = names())]
pub(crate) struct Options {
    /// Which run.
    name: String,
    /// Where its random choices start (CHARTLIFT_SEED); a failing seed fails again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds from there on, in a run made of seeds; what it finds is
    /// added to the result of this commit's earlier calls.
    #[arg(long)]
    seeds: Option<u64>,
}

/// Builds everything: a system test runs programs that cargo does not see as its
/// dependencies, and the result is that of this commit.
fn built_all(limit: Duration) -> Result<stage::Report> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--workspace", "--all-targets"]);
    cargo.args(["--features", "chartlift/failpoints"]);
    stage::run(cargo, limit)
}

/// A program of this workspace.
fn built(name: &str) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("release").join(name)
}

/// The tools and the database server of `cargo xtask test`, and where they are.
fn servers() -> Result<(Option<Server>, Vec<Variable>)> {
    let tools = tools::install()?;
    let mut env = system_env(&tools)?;
    let (server, of_postgres) = postgres(Some(&tools));
    env.extend(of_postgres);
    Ok((server, env))
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
    let seeds = soak.seeds.map(|usual| options.seeds.unwrap_or(usual));
    let to_file = soak.program.and_then(<[_]>::last) == Some(&"--json");
    let program = soak
        .program
        .map_or(String::new(), |words| format!(" && {}", words.join(" ")));
    let out = if to_file { " OUT" } else { "" };
    let shown = format!(
        "{} cargo {}{program}{out}",
        env.join(" "),
        soak.arguments.join(" ")
    );
    announce(soak.name, shown.trim());

    let limit = Duration::from_secs(soak.limit_min * 60);
    // The place for a run that writes its figures to a file.
    let file = std::env::temp_dir().join(format!(
        "chartlift-{}-{}.json",
        soak.name,
        std::process::id()
    ));
    let mut cargo = Command::new("cargo");
    cargo.args(soak.arguments).envs(soak.env.iter().copied());
    let (_server, env) = soak.servers.then(servers).transpose()?.unwrap_or_default();
    cargo.envs(env.clone());
    cargo.env("CHARTLIFT_SEED", options.seed.to_string());
    // The result is this commit's, so the programs are too.
    cargo.env_remove("CHARTLIFT_TEST_BIN_DIR");
    if let Some(seeds) = seeds {
        cargo.env("CHARTLIFT_SEEDS", seeds.to_string());
    }
    let mut report = match built_all(limit)? {
        report if report.is_ok() => stage::run(cargo, limit)?,
        report => report,
    };
    if let Some([name, arguments @ ..]) = soak.program
        && report.is_ok()
    {
        let mut program = Command::new(built(name));
        program
            .args(arguments)
            .envs(env)
            .envs(soak.env.iter().copied());
        program.env("CHARTLIFT_SEED", options.seed.to_string());
        if to_file {
            program.arg(&file);
        }
        report = stage::run(program, limit)?;
    }
    let written = std::fs::read(&file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    std::fs::remove_file(&file).ok();

    let mut figures = figures(written, &report.tally);
    if soak.seeds.is_some() {
        figures = seeds::merged(&seeds::earlier(soak.name)?, &figures);
    }
    let short = seeds::short_of(&figures, soak.needs);
    // A run that ends well but shows nothing has proved nothing.
    let proven = figures
        .as_object()
        .is_some_and(|figures| !figures.is_empty());
    let passed = report.is_ok() && proven && short.is_empty();
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
        println!("it ended well but showed nothing: no figures came");
    }
    for line in short {
        println!("{line}");
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

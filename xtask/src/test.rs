//! `cargo xtask test`: the stages and their order.
//!
//! Every cargo call selects the whole workspace with the same features: another
//! selection would build the dependencies a second time.

use crate::outcome::Tally;
use crate::postgres::Server;
use crate::stage::{self, Ended, announce, minutes};
use crate::summary::{Row, conclude};
use crate::tools::{self, Tools};
use anyhow::{Context, Result};
use clap::Args;
use postgres_server::Programs;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is built and tested, the same in every stage.
pub(crate) const WORKSPACE: [&str; 4] = [
    "--release",
    "--workspace",
    "--features",
    "chartlift/failpoints",
];

/// What `cargo xtask test` is asked.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains TEXT.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Run clippy too, as CI=true does (it builds the metadata of all
    /// dependencies: minutes, the first time).
    #[arg(long)]
    lint: bool,
}

/// Runs all stages; true if all is well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut rows = Vec::new();

    announce("tools", "find or install what the tests need");
    let started = Instant::now();
    let tools = tools::install();
    if let Err(error) = &tools {
        println!("error: {error:#}");
    }
    let ended = if tools.is_ok() {
        Ended::Ok
    } else {
        Ended::Failed
    };
    let (_server, mut env) = postgres(tools.as_ref().ok());
    env.extend(hapi());
    rows.push(Row {
        name: "tools",
        ended,
        tally: Tally::default(),
        took: started.elapsed(),
    });

    rows.push(cargo("fmt", 2, &["fmt", "--all", "--check"], &[])?);
    let build = cargo("build", 90, &all("build", &["--all-targets"]), &[])?;
    let built = build.ended == Ended::Ok;
    rows.push(build);
    if built && (ci || options.lint) {
        let arguments = all("clippy", &["--all-targets", "--", "-D", "warnings"]);
        rows.push(cargo("lint", 60, &arguments, &[])?);
    }
    if built {
        rows.push(tests(options, "unit", 30, UNIT_TARGETS, &env)?);
        rows.push(tests(options, "doc", 15, &["--doc"], &env)?);
        if let Ok(tools) = &tools {
            env.extend(system_env(tools)?);
            rows.push(tests(options, "system", 60, &["--test", "it"], &env)?);
        }
    }
    Ok(conclude(&rows, ci, options.filter.as_deref()))
}

/// What the unit stage runs: tests beside the code, and those that hold a crate
/// from outside. Naming them keeps the selection, and so the dependencies'
/// features, the same in every stage.
const UNIT_TARGETS: &[&str] = &[
    "--lib",
    "--bins",
    "--test",
    "fuzz",
    "--test",
    "properties",
    "--test",
    "segments",
    "--test",
    "page",
    "--test",
    "fake_server",
];

/// A cargo command for everything, with `more` after it.
fn all<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], &WORKSPACE[..], more].concat()
}

/// A stage of tests.
fn tests(
    options: &Options,
    name: &'static str,
    limit_min: u64,
    targets: &[&str],
    env: &[Variable],
) -> Result<Row> {
    let mut arguments = all("test", targets);
    // One failing binary must not hide the next.
    arguments.extend(["--no-fail-fast", "--"]);
    arguments.extend(options.filter.as_deref());
    // A passing test's output holds its `SKIPPED: ` line.
    arguments.push("--show-output");
    cargo(name, limit_min, &arguments, env)
}

/// What tests of PostgreSQL are told, and the server they share: the caller's own,
/// if named already. Without any, they say that they are skipped.
pub(crate) fn postgres(tools: Option<&Tools>) -> (Option<Server>, Vec<Variable>) {
    let python = tools.map_or(Path::new("python3"), |tools| &tools.python);
    let programs = match tools::postgres(python) {
        Ok(programs) => programs,
        Err(error) => {
            println!("no PostgreSQL: {error:#}");
            return (None, Vec::new());
        }
    };
    println!("postgres: {}", programs.folder().display());
    let mut env = postgres_env(&programs);
    if std::env::var_os("CHARTLIFT_TEST_POSTGRES").is_some() {
        return (None, env);
    }
    let server = Server::start(&programs).map_err(|error| println!("no PostgreSQL: {error:#}"));
    if let Ok(server) = &server {
        env.push(("CHARTLIFT_TEST_POSTGRES", server.url().into()));
    }
    (server.ok(), env)
}

/// Where tests of a real FHIR server find it. Without it, they say that they are
/// skipped.
fn hapi() -> Option<Variable> {
    match tools::hapi() {
        Ok(program) => {
            println!("hapi: {}", program.display());
            Some(("CHARTLIFT_HAPI", program.into()))
        }
        Err(error) => {
            println!("no HAPI FHIR: {error:#}");
            None
        }
    }
}

/// Where tests that kill a server of their own find its programs.
pub(crate) fn postgres_env(programs: &Programs) -> Vec<Variable> {
    programs
        .variables()
        .map(|(name, path)| (name, path.into()))
        .into()
}

/// A variable of a stage, and its value.
pub(crate) type Variable = (&'static str, OsString);

/// What the system tests are told.
pub(crate) fn system_env(tools: &Tools) -> Result<Vec<Variable>> {
    let mut env: Vec<Variable> = vec![
        (
            "CHARTLIFT_TEST_BIN_DIR",
            target_dir()?.join("release").into(),
        ),
        ("CHARTLIFT_TEMPORAL_CLI", tools.temporal.clone().into()),
        ("CHARTLIFT_VERSITYGW", tools.versitygw.clone().into()),
        ("CHARTLIFT_TOXIPROXY", tools.toxiproxy.clone().into()),
        ("CHARTLIFT_PYTHON", tools.python.clone().into()),
    ];
    // Each of these tests runs a Temporal server and a worker of its own.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        env.push(("RUST_TEST_THREADS", "2".into()));
    }
    Ok(env)
}

fn cargo(name: &'static str, limit_min: u64, arguments: &[&str], env: &[Variable]) -> Result<Row> {
    announce(name, &format!("cargo {}", arguments.join(" ")));
    let mut command = Command::new("cargo");
    command.args(arguments);
    for (variable, value) in env {
        command.env(variable, value);
    }
    let report = stage::run(command, Duration::from_secs(limit_min * 60))?;
    println!(
        "==> {name}: {} after {:.2} minutes",
        report.ended,
        minutes(report.took)
    );
    Ok(Row {
        name,
        ended: report.ended,
        tally: report.tally,
        took: report.took,
    })
}

/// Where cargo puts what it builds: its own answer, so that a caller's
/// `CARGO_TARGET_DIR` or config counts.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let text = crate::machine::output("cargo", &["metadata", "--no-deps", "--format-version", "1"])
        .context("run cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("read cargo metadata")?;
    let dir = metadata["target_directory"]
        .as_str()
        .context("find the target folder")?;
    Ok(PathBuf::from(dir))
}

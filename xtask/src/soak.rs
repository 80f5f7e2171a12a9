//! `cargo xtask soak NAME`: the long runs, and their results as files.
//!
//! A run may print `FIGURES: {…}` lines, or one JSON object as its last line;
//! either ends up under `figures`.

use crate::machine::{commit, machine, write_result};
use crate::outcome::Tally;
use crate::postgres::Server;
use crate::seeds;
use crate::stage::{self, announce, minutes};
use crate::test::{self, Variable};
use crate::tools;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// One of the long runs.
struct Soak {
    name: &'static str,
    about: &'static str,
    /// The arguments of cargo: the selection of packages is that of the tests, so
    /// that nothing is built twice.
    arguments: &'static [&'static str],
    /// What to run once that is built: a program of the workspace and its
    /// arguments. A last argument `--json` is followed by the path to write to.
    program: Option<&'static [&'static str]>,
    env: &'static [(&'static str, &'static str)],
    /// Whether it needs what `cargo xtask test` installs and starts.
    servers: bool,
    /// How many seeds a call runs, one after the other or side by side, where the
    /// run is made of seeds: it then prints figures by seed, `"seed N": {…}`, and
    /// a later call adds its seeds to the result.
    seeds: Option<u64>,
    /// What the sums over all seeds must reach: (JSON pointer, at least).
    needs: &'static [(&'static str, u64)],
    limit_min: u64,
}

/// The system tests whose name begins like this.
macro_rules! system_tests {
    ($name:literal) => {
        &[
            "test",
            "--release",
            "--workspace",
            "--features",
            "chartlift/failpoints",
            "--test",
            "it",
            $name,
            "--",
            "--nocapture",
        ]
    };
}

const SOAKS: [Soak; 8] = [
    Soak {
        name: "segments-fuzz",
        about: "a million broken segment files: each is read or refused, none panics",
        arguments: &[
            "test",
            "--release",
            "--workspace",
            "--features",
            "chartlift/failpoints",
            "--test",
            "fuzz",
            "--",
            "--nocapture",
        ],
        program: None,
        env: &[("CHARTLIFT_FUZZ_EXECUTIONS", "1000000")],
        servers: false,
        seeds: None,
        needs: &[],
        limit_min: 120,
    },
    Soak {
        name: "bench",
        about: "the benchmarks, beside their peers",
        arguments: &[
            "build",
            "--release",
            "--workspace",
            "--all-targets",
            "--features",
            "chartlift/failpoints",
        ],
        program: Some(&["bench", "all", "--json"]),
        env: &[],
        servers: false,
        seeds: None,
        needs: &[],
        limit_min: 120,
    },
    Soak {
        name: "kills",
        about: "workers and the Temporal server killed; 4 seeds of 52 kills",
        arguments: system_tests!("kills::"),
        program: None,
        env: &[("CHARTLIFT_KILLS", "52")],
        servers: false,
        seeds: Some(4),
        needs: &[
            ("/worker_kills", 200),
            ("/hits/pull.begin", 2),
            ("/hits/pull.plan", 2),
            ("/hits/pull.pages", 2),
            ("/hits/pull.references", 2),
            ("/hits/pull.settle", 2),
            ("/hits/pull.close", 2),
            ("/hits/export.claim", 2),
            ("/hits/export.plan", 2),
            ("/hits/export.chunk", 2),
            ("/hits/export.publish", 2),
            ("/hits/export.close", 2),
            ("/hits/maintain.merge", 2),
            ("/hits/maintain.sweep_records", 2),
            ("/hits/maintain.sweep_destinations", 2),
            ("/hits/maintain.retention", 2),
            ("/temporal_kills_in_pulls_1_s", 2),
            ("/temporal_kills_in_pulls_40_s", 2),
            ("/temporal_kills_in_pulls", 5),
            ("/temporal_kills_in_exports_1_s", 2),
            ("/temporal_kills_in_exports_40_s", 2),
            ("/temporal_kills_in_exports", 5),
        ],
        limit_min: 180,
    },
    Soak {
        name: "memory",
        about: "a patient of 200,000 resources pulled and exported twice: a worker's memory",
        arguments: system_tests!("memory::"),
        program: None,
        env: &[("CHARTLIFT_PULLED_RESOURCES", "200000")],
        servers: false,
        seeds: None,
        needs: &[],
        limit_min: 60,
    },
    Soak {
        name: "endurance",
        about: "60 minutes of changes, pulls, exports and kills: a worker's memory",
        arguments: system_tests!("endurance::"),
        program: None,
        env: &[("CHARTLIFT_ENDURANCE_MINUTES", "60")],
        servers: false,
        seeds: None,
        needs: &[],
        limit_min: 90,
    },
    Soak {
        name: "api-schema",
        about: "the API asked by Schemathesis after its document; 4 seeds of 200 examples",
        arguments: system_tests!("api_schema::"),
        program: None,
        env: &[("CHARTLIFT_EXAMPLES", "200")],
        servers: true,
        seeds: Some(4),
        needs: &[("/seeds", 4)],
        limit_min: 120,
    },
    Soak {
        name: "idempotency",
        about: "1,000 POSTs sent again and again while the API is killed, on both databases",
        arguments: system_tests!("idempotency::"),
        program: None,
        env: &[("CHARTLIFT_POSTS", "1000")],
        servers: true,
        seeds: None,
        needs: &[],
        limit_min: 60,
    },
    Soak {
        name: "record",
        about: "the record of a patient of 20,000 resources over the API: memory and pages",
        arguments: system_tests!("api_record::"),
        program: None,
        env: &[("CHARTLIFT_RECORD_RESOURCES", "20000")],
        servers: true,
        seeds: None,
        needs: &[],
        limit_min: 30,
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
    let (server, mut env) = (test::postgres(Some(&tools)), test::system_env(&tools)?);
    if let Some(server) = &server {
        env.push(("CHARTLIFT_TEST_POSTGRES", server.url().into()));
    }
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
    cargo.envs(env);
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
        program.args(arguments).envs(soak.env.iter().copied());
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

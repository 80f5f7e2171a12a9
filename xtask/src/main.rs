//! Developer commands. `cargo xtask test` is what must be green before a
//! change goes in; `soak` and `fresh` are the long runs; `stack` is for trying out.
//!
//! Owns how the project is built, tested and measured. Invariant: whatever is
//! started here has a time limit, and only processes started here are ended.

mod fresh;
mod hapi;
mod machine;
mod outcome;
mod postgres;
mod seeds;
mod soak;
mod soaks;
mod stack;
mod stage;
mod summary;
mod test;
mod tools;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Developer commands of Chartlift.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, then format-check, build and run them all.
    ///
    /// The last line is "N passed, M failed, K skipped". Under CI=true a skipped
    /// test is a failure and clippy runs too. Tools are kept in
    /// $CHARTLIFT_CACHE (default ~/.cache/chartlift).
    Test(test::Options),
    /// Run one of the long runs and write bench/results/NAME.json.
    Soak(soak::Options),
    /// Run the production topology as processes on this machine.
    Stack(stack::Options),
    /// Run both commands of the README on a clean clone of HEAD, with an empty
    /// HOME and CARGO_HOME, and write bench/results/fresh.json.
    Fresh(fresh::Options),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = repository().and_then(|root| {
        std::env::set_current_dir(&root).with_context(|| format!("enter {}", root.display()))?;
        match command {
            Command::Test(options) => test::run(&options),
            Command::Soak(options) => soak::run(&options),
            Command::Stack(options) => stack::run(&options),
            Command::Fresh(options) => fresh::run(&options),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository this binary was started for: the workspace that holds the
/// working folder, not the one it was compiled in.
fn repository() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("find the working folder")?;
    here.ancestors()
        .find(|dir| dir.join("xtask/Cargo.toml").is_file())
        .map(PathBuf::from)
        .context("this is not a Chartlift repository; run it inside a clone")
}

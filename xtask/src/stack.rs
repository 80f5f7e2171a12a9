//! `cargo xtask stack up`: the production topology as processes. What starts and
//! watches them is `tests/stack`, on the same ground as the system tests.

use crate::stage::{self, announce};
use crate::test::{WORKSPACE, postgres_env, system_env, target_dir};
use crate::tools;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const BUILD_LIMIT: Duration = Duration::from_secs(90 * 60);

/// What `cargo xtask stack` is asked.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Stack,
}

#[derive(Subcommand)]
enum Stack {
    /// Start PostgreSQL, Temporal, VersityGW (S3), `chartlift api` and workers, and
    /// stay until Ctrl-C drains them.
    Up {
        /// How many workers.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
        workers: u16,
        /// The folder of all data; the next `up` goes on with it.
        #[arg(long, value_name = "DIR", default_value = "chartlift-stack")]
        dir: PathBuf,
    },
}

/// Starts it; true once it has ended well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Stack::Up { workers, dir } = &options.command;
    let tools = tools::install()?;
    let programs = tools::postgres(&tools.python)?;
    announce("build", "the programs");
    let mut cargo = Command::new("cargo");
    // The selection of the tests, so that nothing is built twice.
    cargo.arg("build").args(WORKSPACE).arg("--all-targets");
    if !stage::run(cargo, BUILD_LIMIT)?.is_ok() {
        return Ok(false);
    }
    let mut stack = Command::new(target_dir()?.join("release/stack"));
    stack.arg(dir).arg(workers.to_string());
    stack
        .envs(system_env(&tools)?)
        .envs(postgres_env(&programs));
    become_it(&mut stack).context("run the stack")
}

/// Runs a program in the place of this one: at Ctrl-C the terminal waits until it has
/// drained.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<bool> {
    let error = std::os::unix::process::CommandExt::exec(command);
    Err(error.into())
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<bool> {
    Ok(command.status()?.success())
}

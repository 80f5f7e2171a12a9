//! The one binary, `chartlift`. Each command stands in a file of `commands/`;
//! it reads settings, opens the deployment and calls the functions that the API
//! calls too.
//!
//! Invariant: data goes to standard output, words for people to standard error;
//! no secret is an argument and none is printed.

mod args;
mod checks;
mod commands;
mod demo;
mod deployment;
mod interval;
mod node;
mod output;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::print_error(&anyhow::Error::from(error).context("start the runtime"));
            return ExitCode::from(1);
        }
    };
    let ended = runtime.block_on(commands::run(arguments));
    // All work is done; what is left must not keep the process. The upkeep of a pool in
    // sqlx 0.9 never ends where it begins in the moment in which the pool is closed: its
    // count of idle connections then falls below zero.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(1)
        }
    }
}

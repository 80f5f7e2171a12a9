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
mod node;
mod output;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(1)
        }
    }
}

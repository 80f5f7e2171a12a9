//! The commands, one file each.

pub(crate) mod api;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod destination;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod pull;
pub(crate) mod recover;
pub(crate) mod source;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod worker;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Arguments, Command};
use crate::{demo, output};

/// Carries out the command.
///
/// # Errors
/// Whatever kept it from doing so.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let global = &arguments.global;
    match arguments.command {
        Command::Demo(demo) => demo::run(global, &demo).await,
        Command::Up => up::run(global).await,
        Command::Api => api::run(global).await,
        Command::Worker => worker::run(global).await,
        Command::Migrate => migrate::run(global).await,
        Command::Recover(recover) => recover::run(global, &recover).await,
        Command::Verify(verify) => verify::run(global, &verify).await,
        Command::Source(command) => source::run(global, command).await,
        Command::Connection(command) => connection::run(global, command).await,
        Command::Destination(command) => destination::run(global, command).await,
        Command::Pull(command) => pull::run(global, command).await,
        Command::Export(command) => export::run(global, command).await,
        Command::Keys(command) => keys::run(global, command).await,
        Command::Openapi => {
            output::print_line(::api::document().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config => config::run(global),
        Command::Doctor(arguments) => doctor::run(global, &arguments).await,
    }
}

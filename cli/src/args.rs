//! What the command line takes, and how it becomes settings.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use config::{LoadOptions, Settings};

use crate::commands::{
    connection, destination, doctor, export, keys, pull, recover, source, verify,
};
use crate::demo::DemoArguments;

const AFTER_HELP: &str = "\
Examples:
  chartlift demo                     see it work, with nothing to set up
  chartlift up                       run it: API, worker and Temporal in one process
  chartlift doctor                   find out why something does not work

Settings come from chartlift.toml, CHARTLIFT_<SECTION>__<KEY> and flags, in this
order; `chartlift config` prints those in force.

Exit codes: 0 done, 1 failed or not clean, 2 wrong usage.";

/// Pulls patients' records out of the portals that hold them and delivers them,
/// complete and once
#[derive(Debug, Parser)]
#[command(name = "chartlift", version, about, after_help = AFTER_HELP)]
#[command(
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArguments {
    /// The settings file [default: ./chartlift.toml, else the one in the data folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of everything that stays on this machine [default: ./chartlift-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter directive
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show it all on sample patients: portal, pulls, exports, API, Temporal UI
    Demo(DemoArguments),
    /// Run API, worker and (unless one is configured) Temporal in one process
    Up,
    /// Run the API alone, beside workers
    Api,
    /// Run a worker alone, beside others; needs a Temporal server
    Worker,
    /// Bring the database to this version
    Migrate,
    /// Re-read the record store and the destinations and check what is promised of them
    Verify(verify::VerifyArguments),
    /// Let a database that was restored from a copy go on above all that was done since
    Recover(recover::RecoverArguments),
    /// Portals and FHIR servers that records come from
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Patients' grants at sources
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Folders and places in S3 that records are delivered to
    #[command(subcommand)]
    Destination(destination::DestinationCommand),
    /// Runs that fetch a connection's record
    #[command(subcommand)]
    Pull(pull::PullCommand),
    /// Runs that deliver to a destination
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Keys to the API
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Print the OpenAPI document of the API
    Openapi,
    /// Print the settings in force, secrets left out, and where each was given
    Config,
    /// Check settings, database, Temporal, record store and destinations
    Doctor(doctor::DoctorArguments),
}

impl GlobalArguments {
    /// The settings in force.
    ///
    /// # Errors
    /// If a layer cannot be read, or a value not be used.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let mut overrides = Vec::new();
        if let Some(dir) = &self.data_dir {
            let dir = dir.to_str().ok_or_else(|| {
                anyhow::anyhow!("the path given with --data-dir is not UTF-8 text")
            })?;
            overrides.push(("data.dir".to_owned(), dir.to_owned()));
        }
        if let Some(level) = &self.log {
            overrides.push(("log.level".to_owned(), level.clone()));
        }
        Ok(Settings::load(LoadOptions::from_process(
            self.config.clone(),
            overrides,
        ))?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}

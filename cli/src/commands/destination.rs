//! `chartlift destination …`

use std::process::ExitCode;

use activities::register::add_destination;
use anyhow::{Context, Result};
use api::views::DestinationView;
use clap::Subcommand;
use model::FileFormat;

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{print_line, print_list, yes_no};

/// What can be done with destinations.
#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// Add a folder; everything there is goes to it, then all that changes; prints its id
    #[command(
        after_help = "Example:\n  chartlift destination add lake /data/lake --format parquet"
    )]
    Add {
        /// A name of your choice
        name: String,
        /// A folder of its own, as a path or a file:// URL; cannot be changed later
        location: String,
        /// ndjson, ndjson-gzip, ndjson-zstd or parquet; cannot be changed later
        #[arg(long)]
        format: FileFormat,
    },
    /// List the destinations
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Export to a destination again; it catches up from where it was
    Enable {
        /// Its name or id
        destination: String,
    },
    /// Stop exporting to a destination; an export at work goes on
    Disable {
        /// Its name or id
        destination: String,
    },
}

pub(crate) async fn run(global: &GlobalArguments, command: DestinationCommand) -> Result<ExitCode> {
    let db = deployment::open(global).await?.db;
    match command {
        DestinationCommand::Add {
            name,
            location,
            format,
        } => {
            let id = add_destination(&db, &name, &absolute(&location)?, format).await?;
            print_line(&id.to_string());
        }
        DestinationCommand::List { json } => {
            let rows: Vec<_> = db
                .destinations()
                .await?
                .into_iter()
                .map(DestinationView::from)
                .collect();
            let headers = [
                "NAME",
                "ID",
                "FORMAT",
                "LOCATION",
                "ENABLED",
                "PUBLICATIONS",
            ];
            print_list(
                json,
                &rows,
                &headers,
                "no destinations yet: `chartlift destination add`",
                |row| {
                    vec![
                        row.name.clone(),
                        row.id.to_string(),
                        row.format.to_string(),
                        row.location.clone(),
                        yes_no(row.enabled),
                        row.last_publication.to_string(),
                    ]
                },
            )?;
        }
        DestinationCommand::Enable { destination } => {
            db.set_destination_enabled(db.destination(&destination).await?.id, true)
                .await?;
        }
        DestinationCommand::Disable { destination } => {
            db.set_destination_enabled(db.destination(&destination).await?.id, false)
                .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A path as seen from here; a URL as it is.
fn absolute(location: &str) -> Result<String> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let path = std::path::absolute(location).context("find the destination's folder")?;
    Ok(path.display().to_string())
}

//! `chartlift destination …`

mod probe;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use activities::register::{add_destination, set_credentials};
use anyhow::{Context, Result};
use api::views::DestinationView;
use clap::Subcommand;
use db::DestinationChange;
use model::FileFormat;
use objects::Access;

use crate::args::GlobalArguments;
use crate::commands::connection::read_secret;
use crate::deployment;
use crate::output::{print_line, print_list, yes_no};

/// What can be done with destinations.
#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// Add a folder or a place in S3; everything there is goes to it, then all that changes; prints its id
    #[command(
        after_help = "Examples:\n  chartlift destination add lake /data/lake --format parquet\n  \
        chartlift destination add lake s3://lake/records --format parquet --credentials-file key.json\n\n\
        The file is JSON: access_key_id and secret_access_key, and where needed session_token,\n\
        endpoint, region, allow_http. It is stored encrypted and never shown."
    )]
    Add {
        /// A name of your choice
        name: String,
        /// A folder of its own, as a path or a file:// URL, or s3://bucket/prefix; cannot be changed later
        location: String,
        /// ndjson, ndjson-gzip, ndjson-zstd or parquet; cannot be changed later
        #[arg(long)]
        format: FileFormat,
        /// The file that holds the key to S3 as JSON, `-` for standard input; stored encrypted
        #[arg(long, value_name = "FILE")]
        credentials_file: Option<PathBuf>,
    },
    /// Replace the key to a destination in S3, if the destination can be used with it
    Credentials {
        /// Its name or id
        destination: String,
        /// The file that holds the key as JSON, `-` for standard input; stored encrypted
        #[arg(long, value_name = "FILE")]
        credentials_file: PathBuf,
    },
    /// Try whether a destination can be written to, check by check; exit code 1 if not
    Test {
        /// Its name or id
        destination: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Count what an export to a destination would deliver now
    Rehearse {
        /// Its name or id
        destination: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a destination another name
    Rename {
        /// Its name or id
        destination: String,
        /// The new name
        name: String,
    },
    /// Forget a destination and its exports; what lies at its location stays there
    Delete {
        /// Its name or id
        destination: String,
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
    let core = deployment::open(global).await?;
    let (db, guard) = (&core.db, &core.guard);
    match command {
        DestinationCommand::Add {
            name,
            location,
            format,
            credentials_file,
        } => {
            let access = credentials_file.as_deref().map(read_access).transpose()?;
            let location = absolute(&location)?;
            let id = add_destination(db, guard, &name, &location, format, access.as_ref()).await?;
            print_line(&id.to_string());
        }
        DestinationCommand::Credentials {
            destination,
            credentials_file,
        } => {
            let access = read_access(&credentials_file)?;
            set_credentials(db, guard, &destination, &access).await?;
        }
        DestinationCommand::Test { destination, json } => {
            let row = db.destination(&destination).await?;
            return probe::test(&core, &row, json).await;
        }
        DestinationCommand::Rehearse { destination, json } => {
            let row = db.destination(&destination).await?;
            probe::rehearse(&core, &row, json).await?;
        }
        DestinationCommand::Rename { destination, name } => {
            let change = DestinationChange {
                name: Some(&name),
                ..DestinationChange::default()
            };
            let id = db.destination(&destination).await?.id;
            db.change_destination(id, change).await?;
        }
        DestinationCommand::Delete { destination } => {
            let id = db.destination(&destination).await?.id;
            db.delete_destination(id, None).await?;
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

/// Reads a key. No error repeats what was read.
fn read_access(file: &Path) -> Result<Access> {
    let text = read_secret(file).context("read the credentials")?;
    Ok(Access::from_json(text.as_bytes())?)
}

/// A path as seen from here; a URL as it is.
fn absolute(location: &str) -> Result<String> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let path = std::path::absolute(location).context("find the destination's folder")?;
    Ok(path.display().to_string())
}

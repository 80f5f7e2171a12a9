//! `chartlift export …`

mod ask;
mod print;

use std::process::ExitCode;

use anyhow::Result;
use api::views::ExportView;
use clap::Subcommand;
use model::ExportId;

use self::ask::{cancel, enabled, follow, named, patients_named, start};
use self::print::{errors, show};
use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{bytes, grouped, print_json, print_line, print_list};

/// What can be done with exports.
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Ask for exports now; prints the id of each run
    #[command(
        after_help = "Changes are exported by themselves; this is for when you do not want to wait.\n\n\
        Examples:\n  chartlift export start lake --wait\n  chartlift export start --all\n  \
        chartlift export start lake --full        send everything again, newest versions only\n  \
        chartlift export start lake --patient mrs-doe"
    )]
    Start {
        /// Names or ids of destinations
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        destinations: Vec<String>,
        /// Every enabled destination
        #[arg(long)]
        all: bool,
        /// Send everything again, as if nothing had been delivered
        #[arg(long)]
        full: bool,
        /// Only what is lacking of this patient, by id or your own name; may be repeated
        #[arg(long = "patient", value_name = "PATIENT", conflicts_with = "full")]
        patients: Vec<String>,
        /// Wait until they have ended; exit code 1 unless all completed
        #[arg(long)]
        wait: bool,
    },
    /// End an export that is queued or running; what it had planned is held until you ask for it again
    Cancel {
        /// Its id
        export: ExportId,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Make up for an export that was partial, failed or cancelled; prints the id of the new run
    Retry {
        /// Its id
        export: ExportId,
        /// Wait until the new run has ended; exit code 1 unless it completed
        #[arg(long)]
        wait: bool,
    },
    /// List exports, newest first
    List {
        /// To this destination only
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Those before this one
        #[arg(long, value_name = "ID")]
        before: Option<ExportId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the connections that an export did not deliver, and why
    Errors {
        /// Its id
        export: ExportId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an export and why it ran
    Show {
        /// Its id
        export: ExportId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(global: &GlobalArguments, command: ExportCommand) -> Result<ExitCode> {
    let db = deployment::open(global).await?.db;
    match command {
        ExportCommand::Start {
            destinations,
            all,
            full,
            patients,
            wait,
        } => {
            let destinations = if all {
                enabled(&db).await?
            } else {
                named(&db, &destinations).await?
            };
            let patients = patients_named(&db, &patients).await?;
            return start(&db, destinations, full, &patients, wait).await;
        }
        ExportCommand::Cancel { export, wait } => return cancel(&db, export, wait).await,
        ExportCommand::Retry { export, wait } => {
            let retry = db.retry_export(export).await?;
            print_line(&retry.to_string());
            return follow(&db, vec![retry], wait).await;
        }
        ExportCommand::List {
            destination,
            limit,
            before,
            json,
        } => {
            let destination = match destination {
                Some(name) => Some(db.destination(&name).await?.id),
                None => None,
            };
            let exports = db.exports(destination, before, limit).await?;
            let exports: Vec<_> = exports.into_iter().map(ExportView::from).collect();
            let headers = [
                "ID",
                "DESTINATION",
                "STATE",
                "DELIVERED",
                "FILES",
                "SIZE",
                "CREATED",
            ];
            print_list(
                json,
                &exports,
                &headers,
                "no exports: `chartlift export start`",
                |export| {
                    vec![
                        export.id.to_string(),
                        export.destination_id.to_string(),
                        export.state.to_string(),
                        grouped(export.counts.delivered),
                        grouped(export.part_count),
                        bytes(export.size_bytes),
                        export.created_at.clone(),
                    ]
                },
            )?;
        }
        ExportCommand::Errors { export, json } => errors(&db, export, json).await?,
        ExportCommand::Show { export, json } => {
            let patients = db.export_patients(export).await?;
            let view = ExportView::whole(db.export(export).await?, patients, None);
            if json {
                print_json(&view)?
            } else {
                show(&view)
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

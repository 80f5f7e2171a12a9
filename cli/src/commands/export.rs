//! `chartlift export …`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use api::views::{ExportErrorView, ExportView};
use clap::Subcommand;
use db::{Db, RunKind};
use model::{DestinationId, ExportId, PatientId, RunState, Trigger};

use crate::args::GlobalArguments;
use crate::commands::pull::because;
use crate::deployment;
use crate::output::{bytes, grouped, or_dash, print_json, print_line, print_list};

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(250);

/// Errors read from the database at a time.
const ERRORS_PAGE: u32 = 1000;

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

async fn errors(db: &Db, export: ExportId, json: bool) -> Result<()> {
    db.export(export).await?;
    let (mut errors, mut before) = (Vec::new(), None);
    loop {
        let page = db.export_errors(export, before, ERRORS_PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.connection_id);
        errors.extend(page.into_iter().map(ExportErrorView::from));
    }
    print_list(
        json,
        &errors,
        &["CONNECTION", "PATIENT", "CODE", "RESOURCES"],
        "nothing failed",
        |error| {
            vec![
                error.connection_id.to_string(),
                error.patient_id.to_string(),
                or_dash(error.error_code.as_ref()),
                grouped(error.counts.failed),
            ]
        },
    )
}

async fn enabled(db: &Db) -> Result<Vec<DestinationId>> {
    let all = db.destinations().await?;
    Ok(all
        .into_iter()
        .filter(|destination| destination.enabled)
        .map(|destination| destination.id)
        .collect())
}

async fn named(db: &Db, names: &[String]) -> Result<Vec<DestinationId>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(db.destination(name).await?.id);
    }
    Ok(found)
}

async fn patients_named(db: &Db, names: &[String]) -> Result<Vec<PatientId>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(db.patient(name).await?.id);
    }
    Ok(found)
}

async fn start(
    db: &Db,
    destinations: Vec<DestinationId>,
    full: bool,
    patients: &[PatientId],
    wait: bool,
) -> Result<ExitCode> {
    if destinations.is_empty() {
        bail!("there is no enabled destination: `chartlift destination add`");
    }
    let mut exports = Vec::with_capacity(destinations.len());
    for destination in destinations {
        let export = if full {
            db.request_full_export(destination).await?
        } else if !patients.is_empty() {
            db.request_export_of(destination, patients).await?
        } else {
            db.request_export(destination, Some(Trigger::Manual))
                .await?
        };
        print_line(&export.to_string());
        exports.push(export);
    }
    follow(db, exports, wait).await
}

async fn cancel(db: &Db, export: ExportId, wait: bool) -> Result<ExitCode> {
    db.request_cancel(RunKind::Export, &export.to_string())
        .await?;
    if wait {
        let ended = ended(db, export).await?;
        eprintln!(
            "{export} {}{}",
            ended.state,
            because(ended.error_code.as_deref())
        );
    } else {
        eprintln!("asked to end: a running worker sees to it within seconds");
    }
    Ok(ExitCode::SUCCESS)
}

async fn ended(db: &Db, id: ExportId) -> Result<db::Export> {
    loop {
        let export = db.export(id).await?;
        if export.state.is_final() {
            return Ok(export);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn follow(db: &Db, exports: Vec<ExportId>, wait: bool) -> Result<ExitCode> {
    if !wait {
        eprintln!("queued: a running worker starts them within seconds");
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for id in exports {
        let export = ended(db, id).await?;
        eprintln!(
            "{id} {}{}",
            export.state,
            because(export.error_code.as_deref())
        );
        if export.state != RunState::Completed {
            code = ExitCode::from(1);
        }
    }
    Ok(code)
}

fn show(export: &ExportView) {
    let counts = &export.counts;
    print_line(&format!("export        {}", export.id));
    print_line(&format!("destination   {}", export.destination_id));
    print_line(&format!(
        "state         {}{}",
        export.state,
        because(export.error_code.as_deref())
    ));
    print_line(&format!("created       {}", export.created_at));
    print_line(&format!(
        "started       {}",
        or_dash(export.started_at.as_ref())
    ));
    print_line(&format!(
        "finished      {}",
        or_dash(export.finished_at.as_ref())
    ));
    for trigger in export.triggers.iter().flatten() {
        print_line(&format!(
            "asked for     {} × {}",
            trigger.reason, trigger.count
        ));
    }
    print_line(&format!("patients      {}", grouped(export.patients)));
    print_line(&format!(
        "resources     {} planned = {} delivered + {} skipped + {} failed",
        grouped(counts.planned),
        grouped(counts.delivered),
        grouped(counts.skipped),
        grouped(counts.failed)
    ));
    let (files, size) = (grouped(export.part_count), bytes(export.size_bytes));
    print_line(&format!("files         {files}, {size}"));
    print_line(&format!("publications  {}", export.publication_count));
}

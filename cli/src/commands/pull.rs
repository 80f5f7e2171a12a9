//! `chartlift pull …`

mod held;
mod notes;
mod queue;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use api::views::PullView;
use clap::Subcommand;
use db::{Db, RunKind};
use model::{ConnectionId, ConnectionStatus, PullId, RunState, Trigger};

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{grouped, print_json, print_line, print_list};

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(250);
/// Connections read from the database at once.
const PAGE: u32 = 1_000;

/// What can be done with pulls.
#[derive(Debug, Subcommand)]
pub(crate) enum PullCommand {
    /// Ask for pulls; prints the id of each run
    #[command(
        after_help = "Examples:\n  chartlift pull start con_0198… --wait\n  chartlift pull start --all\n  chartlift pull start --all --full"
    )]
    Start {
        /// The connections to fetch
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        connections: Vec<ConnectionId>,
        /// Every enabled connection
        #[arg(long)]
        all: bool,
        /// Ask for everything, also where the source could say what has changed: what
        /// finds deletions
        #[arg(long)]
        full: bool,
        /// Wait until they have ended; exit code 1 unless all completed
        #[arg(long)]
        wait: bool,
    },
    /// List pulls, newest first
    List {
        /// Of this connection only
        #[arg(long, value_name = "ID")]
        connection: Option<ConnectionId>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Those before this one
        #[arg(long, value_name = "ID")]
        before: Option<PullId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a pull and what it got of each type
    Show {
        /// Its id
        pull: PullId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a pull that is queued or running; what it has fetched is dropped
    Cancel {
        /// Its id
        pull: PullId,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Ask again for what a partial, failed or cancelled pull did not get
    Retry {
        /// Its id
        pull: PullId,
        /// Wait until the new pull has ended; exit code 1 unless it completed
        #[arg(long)]
        wait: bool,
    },
    /// List deletions that wait for a decision
    #[command(
        after_help = "Where a pull finds more than a fifth of a type's resources gone (and ten or more), it\n\
        deletes none of them: a source that loses its data looks the same. Accept what is right, or\n\
        discard it; the next pull looks again."
    )]
    Held {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete what a pull has held back; prints the id of the pull that does it
    Accept {
        /// The pull that holds the deletions
        pull: PullId,
        /// Wait until it has ended; exit code 1 unless it completed
        #[arg(long)]
        wait: bool,
    },
    /// Forget the deletions that a pull has held back
    Discard {
        /// The pull that holds the deletions
        pull: PullId,
    },
}

pub(crate) async fn run(global: &GlobalArguments, command: PullCommand) -> Result<ExitCode> {
    let core = deployment::open(global).await?;
    let db = core.db.clone();
    match command {
        PullCommand::Start {
            connections,
            all,
            full,
            wait,
        } => {
            let connections = if all {
                enabled(&db).await?
            } else {
                connections
            };
            return start(&db, connections, full, wait).await;
        }
        PullCommand::List {
            connection,
            limit,
            before,
            json,
        } => {
            let pulls = db.pulls(connection, before, limit).await?;
            let pulls: Vec<_> = pulls.into_iter().map(PullView::from).collect();
            let headers = [
                "ID",
                "CONNECTION",
                "STATE",
                "FETCHED",
                "NEW",
                "CHANGED",
                "CREATED",
            ];
            print_list(
                json,
                &pulls,
                &headers,
                "no pulls: `chartlift pull start`",
                |pull| {
                    vec![
                        pull.id.to_string(),
                        pull.connection_id.to_string(),
                        pull.state.to_string(),
                        grouped(pull.counts.fetched),
                        grouped(pull.counts.new),
                        grouped(pull.counts.changed),
                        pull.created_at.clone(),
                    ]
                },
            )?;
        }
        PullCommand::Show { pull, json } => {
            let (types, held) = (db.pull_types(pull).await?, db.held_deletes(pull).await?);
            let view = PullView::whole(db.pull(pull).await?, types, held, None);
            let view = view.waiting(db.pull_queue(pull).await?);
            if json {
                print_json(&view)?
            } else {
                show::show(&view)
            }
        }
        PullCommand::Cancel { pull, wait } => {
            db.request_cancel(RunKind::Pull, &pull.to_string()).await?;
            if !wait {
                eprintln!("asked to end: a running worker sees to it within seconds");
                return Ok(ExitCode::SUCCESS);
            }
            // It has ended otherwise where it was about to anyway.
            ended(&db, vec![pull], true).await?;
        }
        PullCommand::Retry { pull, wait } => {
            let retry = db.retry_pull(pull).await?;
            print_line(&retry.to_string());
            return ended(&db, vec![retry], wait).await;
        }
        PullCommand::Held { json } => held::list(&db, json).await?,
        PullCommand::Accept { pull, wait } => return held::accept(&db, pull, wait).await,
        PullCommand::Discard { pull } => held::discard(&core, pull).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(
    db: &Db,
    connections: Vec<ConnectionId>,
    full: bool,
    wait: bool,
) -> Result<ExitCode> {
    if connections.is_empty() {
        bail!("there is no enabled connection: `chartlift connection add`");
    }
    let mut pulls = Vec::with_capacity(connections.len());
    let is_one = connections.len() == 1;
    let mut code = ExitCode::SUCCESS;
    for connection in connections {
        let asked = match full {
            true => db.request_full_pull(connection, Trigger::Manual).await,
            false => db.request_pull(connection, Trigger::Manual).await,
        };
        match asked {
            Ok(pull) => {
                print_line(&pull.to_string());
                pulls.push(pull);
            }
            // One that cannot be pulled now keeps nobody else from it.
            Err(error @ db::Error::Conflict { .. }) if !is_one => {
                eprintln!("left out: {error}");
                code = ExitCode::from(1);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let end = ended(db, pulls, wait).await?;
    Ok(if code == ExitCode::SUCCESS { end } else { code })
}

/// Waits until pulls have ended, where that was asked for, and says how.
async fn ended(db: &Db, pulls: Vec<PullId>, wait: bool) -> Result<ExitCode> {
    if !wait {
        eprintln!("queued: a running worker starts them within seconds");
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for id in pulls {
        let pull = loop {
            let pull = db.pull(id).await?;
            if pull.state.is_final() {
                break pull;
            }
            tokio::time::sleep(LOOK).await;
        };
        eprintln!("{id} {}{}", pull.state, because(pull.error_code.as_deref()));
        if pull.state != RunState::Completed {
            code = ExitCode::from(1);
        }
    }
    Ok(code)
}

/// The connections that can be pulled.
pub(crate) async fn enabled(db: &Db) -> Result<Vec<ConnectionId>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = db.connections(after, PAGE).await?;
        after = page.last().map(|last| last.id);
        let is_last = page.len() < PAGE as usize;
        let can = page
            .into_iter()
            .filter(|row| row.enabled && row.status == ConnectionStatus::Active);
        found.extend(can.map(|row| row.id));
        if is_last {
            return Ok(found);
        }
    }
}

/// A run's error code as it stands behind its state.
pub(crate) fn because(code: Option<&str>) -> String {
    code.map_or_else(String::new, |code| format!(" ({code})"))
}

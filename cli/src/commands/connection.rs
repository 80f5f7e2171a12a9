//! `chartlift connection …`

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use activities::register::add_connection;
use anyhow::{Context, Result, ensure};
use api::views::ConnectionView;
use clap::Subcommand;
use db::{Db, SourceAuth};
use model::{ConnectionId, Trigger};

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{or_dash, print_line, print_list, yes_no};

/// A token is a line, a key a few; more than this is another file.
const SECRET_MAX_BYTES: u64 = 64 * 1024;
/// Connections read from the database at once.
const PAGE: u32 = 1_000;

/// What can be done with connections.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Connect a patient to a source and ask for the first pull; prints the connection's id
    #[command(after_help = "Examples:\n  \
        chartlift connection add --patient mrs-doe --source clinic --source-patient-id 12345 --token-file token.txt\n  \
        pass show clinic | chartlift connection add … --token-file -")]
    Add {
        /// Your own name for the patient; added if there is none of it
        #[arg(long, value_name = "EXTERNAL_ID")]
        patient: String,
        /// The source's name or id
        #[arg(long)]
        source: String,
        /// The patient's id at the source; stored encrypted
        #[arg(long, value_name = "ID")]
        source_patient_id: String,
        /// The file that holds the bearer token, `-` for standard input; stored encrypted
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Do not ask for the first pull
        #[arg(long)]
        no_pull: bool,
    },
    /// List the connections
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Pull a connection again
    Enable {
        /// Its id
        connection: ConnectionId,
    },
    /// Stop pulling a connection
    Disable {
        /// Its id
        connection: ConnectionId,
    },
}

pub(crate) async fn run(global: &GlobalArguments, command: ConnectionCommand) -> Result<ExitCode> {
    let db = deployment::open(global).await?.db;
    match command {
        ConnectionCommand::Add {
            patient,
            source,
            source_patient_id,
            token_file,
            no_pull,
        } => {
            let token = token_file.as_deref().map(read_token).transpose()?;
            let wants_token = db.source(&source).await?.auth == SourceAuth::Bearer;
            ensure!(
                token.is_some() || !wants_token,
                "source `{source}` wants a bearer token: give --token-file"
            );
            let id = add_connection(&db, &patient, &source, source_patient_id, token).await?;
            print_line(&id.to_string());
            if !no_pull {
                let pull = db.request_pull(id, Trigger::ConnectionAdded).await?;
                eprintln!("queued {pull}: a running worker starts it within seconds");
            }
        }
        ConnectionCommand::List { json } => {
            let connections = all(&db).await?;
            let headers = ["PATIENT", "ID", "SOURCE", "STATUS", "ENABLED", "BATCHES"];
            print_list(
                json,
                &connections,
                &headers,
                "no connections yet: `chartlift connection add`",
                |row| {
                    vec![
                        or_dash(row.external_id.as_ref()),
                        row.id.to_string(),
                        row.source_id.to_string(),
                        row.status.to_string(),
                        yes_no(row.enabled),
                        row.head_seq.to_string(),
                    ]
                },
            )?;
        }
        ConnectionCommand::Enable { connection } => {
            db.set_connection_enabled(connection, true).await?
        }
        ConnectionCommand::Disable { connection } => {
            db.set_connection_enabled(connection, false).await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn all(db: &Db) -> Result<Vec<ConnectionView>> {
    let mut found: Vec<ConnectionView> = Vec::new();
    loop {
        let page = db
            .connections(found.last().map(|last| last.id), PAGE)
            .await?;
        let is_last = page.len() < PAGE as usize;
        found.extend(page.into_iter().map(ConnectionView::from));
        if is_last {
            return Ok(found);
        }
    }
}

/// Reads a token. No error repeats what was read.
fn read_token(file: &Path) -> Result<String> {
    let text = read_secret(file).context("read the token")?;
    let token = text.trim();
    ensure!(!token.is_empty(), "the token is empty");
    ensure!(
        !token.contains(char::is_whitespace),
        "the token holds white space: is this the right file?"
    );
    Ok(token.to_owned())
}

/// The text of a file, `-` for standard input.
pub(crate) fn read_secret(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .take(SECRET_MAX_BYTES)
            .read_to_string(&mut text)
            .context("read standard input")?;
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
        open.take(SECRET_MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("read {}", file.display()))?;
    }
    Ok(text)
}

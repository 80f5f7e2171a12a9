//! `chartlift connection …`

mod attachments;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use activities::register::{Credentials, add_connection_with, read_grant};
use anyhow::{Context, Result, ensure};
use api::views::ConnectionView;
use clap::Subcommand;
use db::{ConnectionChange, Db, SourceAuth};
use model::{ConnectionId, Trigger};

use crate::args::GlobalArguments;
use crate::deployment;
use crate::interval::interval_or_never;
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
        pass show clinic | chartlift connection add … --token-file -\n  \
        chartlift connection add --patient mrs-doe --source portal --source-patient-id 12345 --grant-file grant.json")]
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
        /// The file that holds the answer of the source's token endpoint (JSON with
        /// access_token, refresh_token, expires_in, scope), `-` for standard input, at a
        /// source with the auth smart; stored encrypted
        #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
        grant_file: Option<PathBuf>,
        /// Do not ask for the first pull
        #[arg(long)]
        no_pull: bool,
    },
    /// Connect a connection again, with a new token or grant, and ask for a pull
    Reconnect {
        /// Its id
        connection: ConnectionId,
        /// The file that holds the bearer token, `-` for standard input; stored encrypted
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The file that holds the answer of the source's token endpoint, `-` for standard
        /// input; stored encrypted
        #[arg(
            long,
            value_name = "FILE",
            conflicts_with = "token_file",
            required_unless_present = "token_file"
        )]
        grant_file: Option<PathBuf>,
    },
    /// Choose how often a connection is pulled by itself
    #[command(
        after_help = "Examples:\n  chartlift connection schedule con_0198… 6h\n  chartlift connection schedule con_0198… never\n  \
                      chartlift connection schedule con_0198…"
    )]
    Schedule {
        /// Its id
        connection: ConnectionId,
        /// `30m`, `6h`, `1d` or `never`; left out, as often as its source says
        #[arg(value_parser = interval_or_never)]
        every: Option<u32>,
    },
    /// List the connections
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the documents that a connection's resources name by a URL, newest first
    #[command(
        after_help = "Example:\n  chartlift connection attachments con_0198… --state failed\n\nThose that failed are \
                      asked for again by later pulls; `chartlift pull start CONNECTION --full` asks for all."
    )]
    Attachments(attachments::AttachmentArguments),
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
            grant_file,
            no_pull,
        } => {
            let credentials = read_credentials(token_file.as_deref(), grant_file.as_deref())?;
            let wants_token = db.source(&source).await?.auth == SourceAuth::Bearer;
            ensure!(
                credentials.token.is_some() || !wants_token,
                "source `{source}` wants a bearer token: give --token-file"
            );
            let added = add_connection_with(&db, &patient, &source, source_patient_id, credentials);
            let id = added.await?;
            print_line(&id.to_string());
            if !no_pull {
                let pull = db.request_pull(id, Trigger::ConnectionAdded).await?;
                eprintln!("queued {pull}: a running worker starts it within seconds");
            }
        }
        ConnectionCommand::Reconnect {
            connection,
            token_file,
            grant_file,
        } => {
            let credentials = read_credentials(token_file.as_deref(), grant_file.as_deref())?;
            let source = db.connection_summary(connection).await?.source_id;
            credentials.check(db.source(&source.to_string()).await?.auth)?;
            let (token, grant) = (credentials.token.as_deref(), credentials.grant.as_ref());
            db.reconnect(connection, token, grant).await?;
            let pull = db.request_pull(connection, Trigger::Manual).await?;
            eprintln!("queued {pull}: a running worker starts it within seconds");
        }
        ConnectionCommand::Schedule { connection, every } => {
            let change = ConnectionChange {
                pull_interval_s: Some(every),
                ..ConnectionChange::default()
            };
            db.change_connection(connection, change).await?;
        }
        ConnectionCommand::List { json } => {
            let connections = all(&db).await?;
            let headers = [
                "PATIENT",
                "ID",
                "SOURCE",
                "STATUS",
                "ENABLED",
                "BATCHES",
                "NEXT PULL",
            ];
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
                        or_dash(row.next_pull_at.as_ref()),
                    ]
                },
            )?;
        }
        ConnectionCommand::Attachments(asked) => attachments::list(&db, asked).await?,
        ConnectionCommand::Enable { connection } => enable(&db, connection, true).await?,
        ConnectionCommand::Disable { connection } => enable(&db, connection, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn enable(db: &Db, connection: ConnectionId, enabled: bool) -> Result<()> {
    let change = ConnectionChange {
        enabled: Some(enabled),
        ..ConnectionChange::default()
    };
    Ok(db.change_connection(connection, change).await?)
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

/// Reads what a connection is made with. No error repeats what was read.
fn read_credentials(token: Option<&Path>, grant: Option<&Path>) -> Result<Credentials> {
    let grant = grant.map(|file| read_secret(file).context("read the grant"));
    let grant = grant.transpose()?.map(|text| read_grant(text.as_bytes()));
    Ok(Credentials {
        token: token.map(read_token).transpose()?,
        grant: grant.transpose()?,
    })
}

/// Reads a token. No error repeats what was read.
pub(crate) fn read_token(file: &Path) -> Result<String> {
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

//! `chartlift source …`

use std::process::ExitCode;

use activities::register::add_source;
use anyhow::Result;
use clap::Subcommand;
use db::{Source, SourceAuth};
use model::SourceId;
use serde::Serialize;
use url::Url;

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{print_line, print_list, yes_no};

/// What can be done with sources.
#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Add a FHIR R4 server; prints its id
    #[command(
        after_help = "Example:\n  chartlift source add clinic https://ehr.example/fhir/r4 --auth bearer"
    )]
    Add {
        /// A name of your choice
        name: String,
        /// Where its FHIR API begins; ids are derived from it, so choose the lasting one
        base_url: Url,
        /// How it is asked: none, or bearer (a token per connection)
        #[arg(long, default_value = "none")]
        auth: SourceAuth,
    },
    /// List the sources
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Pull from a source again
    Enable {
        /// Its name or id
        source: String,
    },
    /// Stop pulling from a source
    Disable {
        /// Its name or id
        source: String,
    },
}

#[derive(Serialize)]
struct SourceView {
    id: SourceId,
    name: String,
    base_url: String,
    identity: String,
    auth: SourceAuth,
    enabled: bool,
    created_at: String,
}

impl From<Source> for SourceView {
    fn from(source: Source) -> Self {
        Self {
            id: source.id,
            name: source.name,
            base_url: source.base_url,
            identity: source.identity,
            auth: source.auth,
            enabled: source.enabled,
            created_at: source.created_at.to_string(),
        }
    }
}

pub(crate) async fn run(global: &GlobalArguments, command: SourceCommand) -> Result<ExitCode> {
    let core = deployment::open(global).await?;
    let db = core.db;
    match command {
        SourceCommand::Add {
            name,
            base_url,
            auth,
        } => {
            print_line(
                &add_source(&db, &core.guard, &name, &base_url, auth)
                    .await?
                    .to_string(),
            );
        }
        SourceCommand::List { json } => {
            let sources: Vec<_> = db
                .sources()
                .await?
                .into_iter()
                .map(SourceView::from)
                .collect();
            let headers = ["NAME", "ID", "BASE URL", "ENABLED"];
            print_list(
                json,
                &sources,
                &headers,
                "no sources yet: `chartlift source add`",
                |source| {
                    vec![
                        source.name.clone(),
                        source.id.to_string(),
                        source.base_url.clone(),
                        yes_no(source.enabled),
                    ]
                },
            )?;
        }
        SourceCommand::Enable { source } => {
            db.set_source_enabled(db.source(&source).await?.id, true)
                .await?
        }
        SourceCommand::Disable { source } => {
            db.set_source_enabled(db.source(&source).await?.id, false)
                .await?
        }
    }
    Ok(ExitCode::SUCCESS)
}

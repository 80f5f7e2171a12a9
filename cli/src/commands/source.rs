//! `chartlift source …`

use std::process::ExitCode;

use activities::register::add_source;
use anyhow::Result;
use api::views::SourceView;
use clap::Subcommand;
use db::{Db, SourceAuth, SourceChange};
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
        /// How often it may be asked a second, by all workers together
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        requests_per_second: Option<u32>,
    },
    /// Change how often a source may be asked a second, by all workers together
    Rate {
        /// Its name or id
        source: String,
        /// Requests a second; left out, as often as workers like
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
        requests_per_second: Option<u32>,
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

pub(crate) async fn run(global: &GlobalArguments, command: SourceCommand) -> Result<ExitCode> {
    let core = deployment::open(global).await?;
    let db = core.db;
    match command {
        SourceCommand::Add {
            name,
            base_url,
            auth,
            requests_per_second: rate,
        } => {
            let id = add_source(&db, &core.guard, &name, &base_url, auth, rate).await?;
            print_line(&id.to_string());
        }
        SourceCommand::Rate {
            source,
            requests_per_second,
        } => {
            let change = SourceChange {
                requests_per_second: Some(requests_per_second),
                ..SourceChange::default()
            };
            db.change_source(db.source(&source).await?.id, change)
                .await?;
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
        SourceCommand::Enable { source } => enable(&db, &source, true).await?,
        SourceCommand::Disable { source } => enable(&db, &source, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn enable(db: &Db, source: &str, enabled: bool) -> Result<()> {
    let change = SourceChange {
        enabled: Some(enabled),
        ..SourceChange::default()
    };
    Ok(db
        .change_source(db.source(source).await?.id, change)
        .await?)
}

//! `chartlift source …`

mod limits;
mod list;
mod login;

use std::process::ExitCode;

use activities::register::{
    SourceToAdd, add_source_with_login, add_source_without_login, set_login,
};
use anyhow::{Result, ensure};
use clap::Subcommand;
use db::{Db, SourceAuth, SourceChange, SourceLimits};
use model::{AttachmentPolicy, Strategy};
use url::Url;

use self::limits::{Limit, LimitArguments};
use self::list::list;
use self::login::LoginArguments;
use crate::args::GlobalArguments;
use crate::deployment;
use crate::interval::interval;
use crate::output::print_line;

/// What can be done with sources.
#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Add a FHIR R4 server; prints its id
    #[command(after_help = "Examples:\n  \
        chartlift source add clinic https://ehr.example/fhir/r4 --auth bearer\n  \
        chartlift source add portal https://ehr.example/fhir/r4 --auth smart --client-id 9f3 --client-secret-file s.txt\n  \
        chartlift source add system https://ehr.example/fhir/r4 --auth backend_services --client-id 9f3 --scope 'system/*.rs'")]
    Add {
        /// A name of your choice
        name: String,
        /// Where its FHIR API begins; ids are derived from it, so choose the lasting one
        base_url: Url,
        /// How it is asked: none; bearer (a token per connection); client_credentials or
        /// backend_services (a token of our own, for a secret or a signature); smart (a
        /// patient's grant per connection)
        #[arg(long, default_value = "none")]
        auth: SourceAuth,
        #[command(flatten)]
        login: LoginArguments,
        #[command(flatten)]
        limits: LimitArguments,
        /// How it is asked for a patient's record: search, everything or bulk
        #[arg(long, default_value = "search")]
        strategy: Strategy,
        /// Documents that its resources name by a URL: fetch them or leave them there
        #[arg(long, default_value = "fetch")]
        attachments: AttachmentPolicy,
    },
    /// Change how a source is logged in to
    Login {
        /// Its name or id
        source: String,
        #[command(flatten)]
        login: LoginArguments,
    },
    /// Change how often a source may be asked a second, by all workers together
    Rate {
        /// Its name or id
        source: String,
        /// Requests a second; left out, as often as workers like
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
        requests_per_second: Option<u32>,
    },
    /// Change how a source is asked for a patient's record
    #[command(
        after_help = "Example:\n  chartlift source strategy clinic everything\n\nsearch: type by type. everything: \
                      first by $everything. bulk: first by a bulk export of the patient. What these do not bring is \
                      searched for, and all is where the source refuses them; that is remembered for 30 days, or \
                      until a strategy is set again."
    )]
    Strategy {
        /// Its name or id
        source: String,
        /// search, everything or bulk
        strategy: Strategy,
    },
    /// Choose whether documents that a source's resources name by a URL are fetched
    #[command(
        after_help = "Example:\n  chartlift source attachments clinic leave\n\nfetch: they are kept in the record \
                      store, under the connection. leave: they stay at the source; what was fetched before is kept."
    )]
    Attachments {
        /// Its name or id
        source: String,
        /// fetch or leave
        policy: AttachmentPolicy,
    },
    /// Change how much of a source is asked for at the same time, by all workers together
    #[command(
        after_help = "Example:\n  chartlift source concurrency clinic --requests 4 --pulls 2"
    )]
    Concurrency {
        /// Its name or id
        source: String,
        /// Requests that may wait for its answer; `none`: as many as its share of the
        /// workers' slots makes
        #[arg(long, value_name = "N", required_unless_present = "pulls")]
        requests: Option<Limit>,
        /// Its pulls that may be at work; `none`: a few more than keep its share busy
        #[arg(long, value_name = "N")]
        pulls: Option<Limit>,
    },
    /// Choose which types of resources are pulled from a source
    #[command(
        after_help = "Example:\n  chartlift source types clinic Condition,Observation\n\nThe patient, and what \
                      resources refer to, is always pulled. What other types brought before stays."
    )]
    Types {
        /// Its name or id
        source: String,
        /// The types, with commas between; left out, all that the source has
        #[arg(value_delimiter = ',', value_parser = resource_type)]
        types: Vec<String>,
    },
    /// Choose how often the connections of a source are pulled by themselves
    #[command(
        after_help = "Example:\n  chartlift source schedule clinic 6h\n\nA connection with an interval of its own keeps \
                      that (`chartlift connection schedule`)."
    )]
    Schedule {
        /// Its name or id
        source: String,
        /// `30m`, `6h` or `1d`; left out, not by themselves
        #[arg(value_parser = interval)]
        every: Option<u32>,
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
            login,
            limits,
            strategy,
            attachments,
        } => {
            let new = SourceToAdd {
                auth,
                limits: SourceLimits::from(limits),
                strategy,
                attachments,
                ..SourceToAdd::new(&name, &base_url)
            };
            let id = match login.given()? {
                Some(login) => {
                    // Its keys are there before it is asked for the first time.
                    activities::first_signing_keys(&db).await?;
                    add_source_with_login(&db, &core.guard, &new, login).await?
                }
                None => {
                    ensure!(
                        !auth.has_login(),
                        "a source with the auth `{}` knows us by a client id: give --client-id",
                        auth.as_str()
                    );
                    add_source_without_login(&db, &core.guard, &new).await?
                }
            };
            print_line(&id.to_string());
        }
        SourceCommand::Login { source, login } => {
            let login = login.given()?;
            let login = login.ok_or_else(|| anyhow::anyhow!("give --client-id"))?;
            set_login(&db, &core.guard, &source, login).await?;
        }
        SourceCommand::Rate {
            source,
            requests_per_second,
        } => {
            let change = SourceChange {
                requests_per_second: Some(requests_per_second),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::Strategy { source, strategy } => {
            let change = SourceChange {
                strategy: Some(strategy),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::Attachments { source, policy } => {
            let change = SourceChange {
                attachments: Some(policy),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::Concurrency {
            source,
            requests,
            pulls,
        } => {
            let change = SourceChange {
                concurrent_requests: requests.map(|Limit(limit)| limit),
                concurrent_pulls: pulls.map(|Limit(limit)| limit),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::Types { source, types } => {
            let change = SourceChange {
                types: Some((!types.is_empty()).then_some(types.as_slice())),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::Schedule { source, every } => {
            let change = SourceChange {
                pull_interval_s: Some(every),
                ..SourceChange::default()
            };
            change_source(&db, &source, change).await?;
        }
        SourceCommand::List { json } => list(&db, json).await?,
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
    change_source(db, source, change).await
}

/// Changes a source that is given by its name or id.
async fn change_source(db: &Db, source: &str, change: SourceChange<'_>) -> Result<()> {
    let id = db.source(source).await?.id;
    Ok(db.change_source(id, change).await?)
}

fn resource_type(name: &str) -> Result<String, String> {
    if model::is_resource_type(name) {
        Ok(name.to_owned())
    } else {
        Err("a type is a word like Observation".to_owned())
    }
}

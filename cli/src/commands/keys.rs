//! `chartlift keys …`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::views::KeyView;
use clap::Subcommand;
use db::{Db, NewApiKey};
use model::{KeyId, Scope, Timestamp};

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{print_line, print_list};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key; prints it, this once
    #[command(
        after_help = "Scopes: read, write, phi (patients' records), admin (keys, audit log).\n\n\
        Example:\n  chartlift keys create dashboard --scope read"
    )]
    Create {
        /// A name of your choice
        name: String,
        /// What it may do; may be given more than once
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// After how many days it is no longer good [default: never]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
        expires_in_days: Option<u32>,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key, from the next request on
    Revoke {
        /// Its id
        key: KeyId,
    },
    /// Make a key that takes the place of another; prints it, this once
    Rotate {
        /// The old key's id
        key: KeyId,
        /// How long the old key stays good beside the new one
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
        overlap_hours: u32,
    },
    /// Make new keys to sign with as a client of portals (/.well-known/jwks.json). Portals
    /// that keep our public keys see the new ones first: these sign after an hour, and the
    /// old ones stay published for two more
    RotateSigning {
        /// The old keys are known to somebody else: withdraw them now. Portals that keep
        /// our public keys may refuse us until they ask for them again
        #[arg(long)]
        at_once: bool,
    },
    /// Seal everything in the database with `secrets.encryption_key` that is sealed with
    /// another key, while workers and API go on; stopped, it goes on when called again
    #[command(after_help = "First give every process both keys, the new one as \
        `secrets.encryption_key` and the old one as\n`secrets.other_encryption_key`, and start it again \
        (docs/authentication.md). Remove the old key when this says that nothing is left.")]
    RotateEncryption,
}

pub(crate) async fn run(global: &GlobalArguments, command: KeysCommand) -> Result<ExitCode> {
    let db = deployment::open(global).await?.db;
    match command {
        KeysCommand::Create {
            name,
            mut scopes,
            expires_in_days,
        } => {
            scopes.sort_unstable();
            scopes.dedup();
            let new = NewApiKey {
                name,
                scopes,
                expires_at: expires_in_days.map(|days| in_hours(days * 24)),
            };
            print_line(&db.add_api_key(&new).await?.1);
        }
        KeysCommand::List { json } => list(&db, json).await?,
        KeysCommand::Revoke { key } => db.revoke_api_key(key).await?,
        KeysCommand::Rotate { key, overlap_hours } => {
            print_line(&db.rotate_api_key(key, in_hours(overlap_hours)).await?.1);
        }
        KeysCommand::RotateSigning { at_once } => {
            activities::rotate_signing_keys(&db, at_once).await?;
        }
        KeysCommand::RotateEncryption => return rotate_encryption(&db).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Passes that find what others have written meanwhile with the old key.
const PASSES_MAX: u32 = 3;

async fn rotate_encryption(db: &Db) -> Result<ExitCode> {
    let mut resealed = 0;
    for _ in 0..PASSES_MAX {
        let pass = db.reseal().await?;
        resealed += pass.resealed;
        if pass.unreadable > 0 {
            eprintln!(
                "{} values are sealed with a key that is not here: give it as `secrets.other_encryption_key`",
                pass.unreadable
            );
            return Ok(ExitCode::FAILURE);
        }
        if pass.resealed == 0 && pass.replaced_meanwhile == 0 {
            break;
        }
    }
    let left = db.sealed_otherwise().await?;
    if left > 0 {
        eprintln!(
            "{left} values are sealed with another key again: a process still seals with it. Start every process with \
             the new `secrets.encryption_key`, then call this again"
        );
        return Ok(ExitCode::FAILURE);
    }
    print_line(&format!(
        "{resealed} values sealed anew; nothing is sealed with another key"
    ));
    Ok(ExitCode::SUCCESS)
}

async fn list(db: &Db, json: bool) -> Result<()> {
    let keys = db.api_keys(None, 10_000).await?;
    let keys: Vec<KeyView> = keys.into_iter().map(KeyView::from).collect();
    let headers = ["NAME", "ID", "SCOPES", "EXPIRES", "REVOKED", "LAST USED"];
    let or_dash = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
    print_list(
        json,
        &keys,
        &headers,
        "no keys yet: `chartlift keys create`",
        |key| {
            let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            vec![
                key.name.clone(),
                key.id.to_string(),
                scopes.join(","),
                or_dash(&key.expires_at),
                or_dash(&key.revoked_at),
                or_dash(&key.last_used_at),
            ]
        },
    )
}

/// The first key of a deployment, with every scope; none if there is one already.
pub(crate) async fn first_key(db: &Db) -> Result<Option<String>> {
    if !db.api_keys(None, 1).await?.is_empty() {
        return Ok(None);
    }
    let new = NewApiKey {
        name: "first".to_owned(),
        scopes: Scope::ALL.to_vec(),
        expires_at: None,
    };
    Ok(Some(db.add_api_key(&new).await?.1))
}

fn in_hours(hours: u32) -> Timestamp {
    Timestamp::now().after(Duration::from_secs(u64::from(hours) * 3600))
}

//! The servers a deployment under test works with: where things lie in them, and
//! killing them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{App, AppOptions, PostgresServer, S3Server};

/// Says where a deployment under test works whose options do not say it: `servers`
/// is PostgreSQL and S3, with three workers; else SQLite and folders, with one.
const PLACE: &str = "CHARTLIFT_TEST_PLACE";
const WORKERS: usize = 3;
/// Where destinations lie in S3.
pub(crate) const LAKE: &str = "s3://lake";

impl AppOptions {
    /// The same with the place filled in, and whether that is on servers.
    pub(crate) async fn placed(mut self) -> Result<(Self, bool)> {
        let is_named = |(key, _): &(String, String)| key == "database.url";
        let says_where =
            self.postgres.is_some() || self.s3.is_some() || self.settings.iter().any(is_named);
        if says_where || std::env::var(PLACE).as_deref() != Ok("servers") {
            return Ok((self, false));
        }
        let s3 = S3Server::start(&["records", "lake"]).await?;
        let s3 = s3.context("VersityGW is not there: run `cargo xtask soak`")?;
        let postgres = PostgresServer::start().await?;
        self.postgres = Some(postgres.context("PostgreSQL is not there: run `cargo xtask soak`")?);
        self.settings.extend(s3.settings("s3://records/main"));
        self.s3 = Some(s3);
        self.workers = self.workers.max(WORKERS);
        Ok((self, true))
    }
}

/// The servers beside Temporal, which twins share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servers {
    pub(crate) s3: Option<Arc<S3Server>>,
    pub(crate) postgres: Option<Arc<PostgresServer>>,
}

impl Servers {
    pub(crate) fn new(s3: Option<S3Server>, postgres: Option<PostgresServer>) -> Self {
        Self {
            s3: s3.map(Arc::new),
            postgres: postgres.map(Arc::new),
        }
    }

    /// The settings of a deployment with this database.
    pub(crate) fn settings(&self, database: &str) -> Option<(String, String)> {
        let postgres = self.postgres.as_ref()?;
        Some(("database.url".to_owned(), postgres.url(database)))
    }
}

/// A server that is killed and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Struck {
    /// The Temporal server.
    Temporal,
    /// The server of the database.
    Postgres,
    /// The store of records and destinations.
    S3,
}

impl Struck {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Temporal => "temporal",
            Self::Postgres => "postgres",
            Self::S3 => "s3",
        }
    }
}

/// A server that is killed, and how long it stays down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub of: Struck,
    /// How long.
    pub down: Duration,
}

impl Outage {
    /// Of so many seconds.
    #[must_use]
    pub fn secs(of: Struck, seconds: u64) -> Self {
        Self {
            of,
            down: Duration::from_secs(seconds),
        }
    }
}

impl App {
    /// Kills a server, as `kill -9` does.
    pub fn kill_server(&mut self, of: Struck) -> Result<()> {
        match of {
            Struck::Temporal => self.temporal.kill(),
            Struck::Postgres => self.postgres().kill(),
            Struck::S3 => self.s3().kill(),
        }
    }

    /// Starts a killed server again, on what it had.
    pub async fn restart_server(&mut self, of: Struck) -> Result<()> {
        match of {
            Struck::Temporal => self.temporal.restart().await,
            Struck::Postgres => self.postgres().restart(),
            Struck::S3 => self.s3().restart().await,
        }
        .with_context(|| format!("start {} again", of.name()))
    }

    /// The server of the database.
    ///
    /// # Panics
    /// If the options named none.
    #[must_use]
    pub fn postgres(&self) -> &PostgresServer {
        let postgres = self.servers.postgres.as_ref();
        postgres.expect("the options name a server")
    }

    /// The store of what lies in S3.
    ///
    /// # Panics
    /// If the options named none.
    #[must_use]
    pub fn s3(&self) -> &S3Server {
        let s3 = self.servers.s3.as_ref();
        s3.expect("the options name a store")
    }

    /// The folder of the record store, be it in S3.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.folder_of(&self.core.settings.records.location)
    }

    /// The folder of a destination that [`App::destination`] added, be it in S3.
    #[must_use]
    pub fn files(&self, name: &str) -> PathBuf {
        match self.lake {
            true => self.folder_of(&format!("{LAKE}/{name}")),
            false => self.dir.path().join("files").join(name),
        }
    }

    /// The folder of a location, be it in S3.
    #[must_use]
    pub fn folder_of(&self, location: &str) -> PathBuf {
        let s3 = self.servers.s3.as_ref();
        let in_s3 = s3.and_then(|s3| s3.folder_of(location));
        in_s3.unwrap_or_else(|| location.into())
    }
}

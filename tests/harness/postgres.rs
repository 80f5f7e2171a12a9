//! A PostgreSQL server of one test's own, which it may kill, or of the stack.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use postgres_server::{Options, Programs, Server};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// The server; ended when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    server: Mutex<Server>,
    proxy_port: Option<u16>,
    _kept: Option<TempDir>,
}

impl PostgresServer {
    /// The deployment's database.
    pub const DATABASE: &str = "chartlift";

    /// Starts a server with an empty database; none where there is no PostgreSQL.
    pub async fn start() -> Result<Option<Self>> {
        let Some(programs) = Programs::find()? else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let server = Server::start(&programs, dir.path(), Options::default())?;
        Self::begin(server, Some(dir)).await.map(Some)
    }

    /// Starts a server on what is in a folder, which stays. The terminal's Ctrl-C does
    /// not reach it.
    pub async fn start_in(dir: &Path) -> Result<Self> {
        let programs = Programs::find()?.context("find PostgreSQL")?;
        let options = Options {
            durable: true,
            apart: true,
        };
        Self::begin(Server::start(&programs, dir, options)?, None).await
    }

    async fn begin(server: Server, kept: Option<TempDir>) -> Result<Self> {
        let server = Self {
            server: Mutex::new(server),
            proxy_port: None,
            _kept: kept,
        };
        server.make_database(Self::DATABASE, "template0").await?;
        Ok(server)
    }

    /// Where a database of it is, or who passes on to it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let own = self.port();
        let url = self.server().url(database);
        let Some(port) = self.proxy_port else {
            return url;
        };
        url.replace(&format!(":{own}/"), &format!(":{port}/"))
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server().port()
    }

    /// The same, reached through who passes on to it.
    #[must_use]
    pub fn behind(mut self, proxy_port: u16) -> Self {
        self.proxy_port = Some(proxy_port);
        self
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) -> Result<()> {
        self.server().kill()
    }

    /// Starts it on the same folder and port, and waits until it answers.
    pub fn restart(&self) -> Result<()> {
        self.server().restart()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.server().id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> Result<bool> {
        self.server().has_ended()
    }

    /// Ends it, cutting off whoever is connected.
    pub fn stop(&self) {
        self.server().stop();
    }

    /// Makes a database, unless it is there, like another, to which nobody is
    /// connected.
    pub async fn make_database(&self, name: &str, like: &str) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.url("postgres")).await?;
        let found = sqlx::query("SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = $1")
            .bind(name)
            .fetch_optional(&mut connection)
            .await?;
        if found.is_none() {
            let text = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE {like}");
            connection.execute(AssertSqlSafe(text)).await?;
        }
        Ok(connection.close().await?)
    }

    /// Removes a database, cutting off whoever is connected.
    pub async fn remove_database(&self, name: &str) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.url("postgres")).await?;
        let text = format!("DROP DATABASE {name} WITH (FORCE)");
        connection.execute(AssertSqlSafe(text)).await?;
        Ok(connection.close().await?)
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

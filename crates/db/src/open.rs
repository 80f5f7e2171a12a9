//! Opening a database, its pools and its migrations.

use std::sync::Arc;

use seal::KeyRing;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{AnyPool, Executor};
use std::str::FromStr;

use crate::{Error, Result};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Whether the database is at the version of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationState {
    /// Migrations already applied.
    pub applied: usize,
    /// Migrations this program knows.
    pub known: usize,
}

/// A handle on the database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) writer: AnyPool,
    pub(crate) reader: AnyPool,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) call: Option<Arc<crate::Call>>,
}

impl Db {
    /// Opens `url` (`sqlite://FILE`), creating the file if there is none, without
    /// touching the schema.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot be opened.
    pub async fn connect(url: &str, keys: KeyRing) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let url = if url.starts_with("sqlite:") && !url.contains('?') {
            format!("{url}?mode=rwc")
        } else {
            url.to_owned()
        };
        let options = AnyConnectOptions::from_str(&url)?;
        let pool = |size: u32| {
            AnyPoolOptions::new()
                .max_connections(size)
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        // FULL: a commit that was answered survives a power cut.
                        for pragma in [
                            "PRAGMA busy_timeout = 15000",
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA foreign_keys = ON",
                        ] {
                            connection.execute(sqlx::query(pragma)).await?;
                        }
                        Ok(())
                    })
                })
        };
        // SQLite has one writer; a pool of one makes waiting for it fair and silent.
        let writer = pool(1).connect_with(options.clone()).await?;
        let reader = pool(4).connect_with(options).await?;
        Ok(Self {
            writer,
            reader,
            keys: Arc::new(keys),
            call: None,
        })
    }

    /// Applies the migrations that are missing.
    ///
    /// # Errors
    /// [`Error::Migration`] if the database was made by a newer version.
    pub async fn migrate(&self) -> Result<()> {
        MIGRATIONS.run(&self.writer).await.map_err(|error| Error::Migration {
            what: format!("the database cannot be brought to this version: {error}. Was it made by a newer chartlift?"),
        })
    }

    /// How many migrations are applied, and how many this program knows.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn migration_state(&self) -> Result<MigrationState> {
        let mut connection = self.writer.acquire().await?;
        let failed = |error: sqlx::migrate::MigrateError| Error::Migration {
            what: error.to_string(),
        };
        connection
            .ensure_migrations_table("_sqlx_migrations")
            .await
            .map_err(failed)?;
        let applied = connection
            .list_applied_migrations("_sqlx_migrations")
            .await
            .map_err(failed)?;
        Ok(MigrationState {
            applied: applied.len(),
            known: MIGRATIONS.iter().count(),
        })
    }

    /// Closes the pools; the file can then be copied or removed.
    pub async fn close(&self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

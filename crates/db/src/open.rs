//! Opening a database, its pools and its migrations.

use std::sync::Arc;

use seal::KeyRing;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{AnyPool, Executor};
use std::str::FromStr;

use crate::{Error, Result, postgres};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Whether the database is at the version of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationState {
    /// Migrations already applied.
    pub applied: usize,
    /// Migrations this program knows.
    pub known: usize,
}

/// Connections to PostgreSQL that one process holds at most, unless said otherwise.
const CONNECTIONS_MAX: u32 = 10;

/// A handle on the database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) writer: AnyPool,
    /// For what may be read beside a writer. It sees whatever was committed before.
    pub(crate) reader: AnyPool,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) call: Option<Arc<crate::Call>>,
    is_postgres: bool,
}

impl Db {
    /// Opens `url`: `sqlite://FILE`, creating the file if there is none, or
    /// `postgres://…`, whose database must exist. The schema is not touched.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Connect`] if it cannot be opened;
    /// [`Error::Migration`] for a server that cannot hold it.
    pub async fn connect(url: &str, keys: KeyRing) -> Result<Self> {
        Self::connect_pooled(url, keys, CONNECTIONS_MAX).await
    }

    /// As [`Self::connect`], with so many connections to PostgreSQL at most.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_pooled(url: &str, keys: KeyRing, connections_max: u32) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let is_postgres = postgres::is_postgres(url);
        let (writer, reader) = if is_postgres {
            let pool = open_postgres(url, connections_max).await?;
            (pool.clone(), pool)
        } else {
            open_sqlite(url).await?
        };
        Ok(Self {
            writer,
            reader,
            keys: Arc::new(keys),
            call: None,
            is_postgres,
        })
    }

    /// Applies the migrations that are missing.
    ///
    /// # Errors
    /// [`Error::Migration`] if the database was made by a newer version.
    pub async fn migrate(&self) -> Result<()> {
        let done = if self.is_postgres {
            postgres::migrations(&MIGRATIONS).run(&self.writer).await
        } else {
            MIGRATIONS.run(&self.writer).await
        };
        done.map_err(|error| Error::Migration {
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
        // Two that make the table at once would stand in each other's way.
        connection.lock().await.map_err(failed)?;
        let made = connection.ensure_migrations_table("_sqlx_migrations").await;
        connection.unlock().await.map_err(failed)?;
        made.map_err(failed)?;
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

/// The writer and the readers. SQLite has one writer; a pool of one makes waiting
/// for it fair and silent.
async fn open_sqlite(url: &str) -> Result<(AnyPool, AnyPool)> {
    let url = if url.contains('?') {
        url.to_owned()
    } else {
        format!("{url}?mode=rwc")
    };
    let options = AnyConnectOptions::from_str(&url)?;
    let pool = |size: u32| {
        pool_of(size).after_connect(|connection, _| {
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
    let writer = pool(1).connect_with(options.clone()).await?;
    let reader = pool(4).connect_with(options).await?;
    Ok((writer, reader))
}

/// A pool that keeps its connections. One that lets them go by age has a task for
/// it, which in sqlx 0.9 never ends if it begins while the pool is being closed.
fn pool_of(size: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(size)
        .idle_timeout(None)
        .max_lifetime(None)
}

async fn open_postgres(url: &str, connections_max: u32) -> Result<AnyPool> {
    let options = AnyConnectOptions::from_str(url).map_err(postgres::connect_error)?;
    // A first connection by itself: a pool would try again until it gave up, and
    // say no more than that.
    postgres::try_connect(&options).await?;
    let pool = pool_of(connections_max)
        .after_connect(|connection, _| Box::pin(postgres::begin_session(connection)))
        .connect_with(options)
        .await
        .map_err(postgres::connect_error)?;
    postgres::check_server(&pool).await?;
    Ok(pool)
}

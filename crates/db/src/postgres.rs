//! What PostgreSQL needs that SQLite does not: the settings of a session, the
//! check of the server, the text of the migrations, and errors that say what to do.

use std::borrow::Cow;

use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, SqlSafeStr};

use crate::row::Columns;
use crate::{Error, Result};

/// The oldest version that the tests know to work.
const VERSION_MIN: u64 = 14;

/// How long a server may take to let somebody in.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Said by every connection to the server once. READ COMMITTED is what the lock
/// rule of [`crate::lock`] rests on, whatever the server's default; a commit that
/// was answered survives a power cut. The limits end what hangs: a session that was
/// cut off in a transaction keeps its locks no longer than 10 s.
const SESSION: &str = "SELECT set_config('application_name', 'chartlift', false), \
     set_config('idle_in_transaction_session_timeout', '10s', false), set_config('lock_timeout', '15s', false), \
     set_config('statement_timeout', '60s', false), set_config('synchronous_commit', 'on', false), \
     set_config('default_transaction_isolation', 'read committed', false)";

pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) async fn begin_session(connection: &mut AnyConnection) -> sqlx::Result<()> {
    connection.execute(sqlx::query(SESSION)).await.map(drop)
}

/// Connects once, so that what is wrong is said and not waited for.
pub(crate) async fn try_connect(options: &AnyConnectOptions) -> Result<()> {
    let connecting = AnyConnection::connect_with(options);
    let connection = tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(connect_error)?;
    connection.close().await.map_err(connect_error)
}

/// Refuses a server that cannot keep what we keep.
pub(crate) async fn check_server(pool: &sqlx::AnyPool) -> Result<()> {
    let row = sqlx::query(
        "SELECT CAST(current_setting('server_version_num') AS BIGINT) AS version, \
         current_setting('server_encoding') AS encoding",
    )
    .fetch_one(pool)
    .await?;
    let (version, encoding) = (row.count("version")? / 10_000, row.text("encoding")?);
    let refuse = |what: String| Err(Error::Migration { what });
    if version < VERSION_MIN {
        return refuse(format!(
            "the server is PostgreSQL {version}: update it to {VERSION_MIN} or later"
        ));
    }
    if encoding != "UTF8" {
        return refuse(format!(
            "the database is encoded as {encoding}: make one with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
        ));
    }
    Ok(())
}

/// Why a server could not be connected to, and what to do. The URL is not repeated:
/// it may hold a password.
pub(crate) fn connect_error(error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(inner) => inner.code().map(Cow::into_owned),
        _ => None,
    };
    let what = match (code.as_deref(), &error) {
        (Some("28P01" | "28000"), _) => {
            "PostgreSQL refuses this user: correct user and password in `database.url`, or the server's pg_hba.conf"
        }
        (Some("3D000"), _) => {
            "PostgreSQL has no database of this name: make it with `createdb`, or correct `database.url`"
        }
        (Some("53300"), _) => {
            "PostgreSQL has no connection left: raise its `max_connections`, or lower `database.connections_max`"
        }
        (_, sqlx::Error::Tls(_)) => {
            "no TLS connection to PostgreSQL: see to its certificate, or to `sslmode` and `sslrootcert` in `database.url`"
        }
        (_, sqlx::Error::Configuration(_)) => {
            "`database.url` cannot be read: use postgres://USER:PASSWORD@HOST:PORT/DATABASE"
        }
        _ => "PostgreSQL does not answer: start it, or correct host and port in `database.url`",
    };
    Error::Connect {
        what: what.to_owned(),
        source: error,
    }
}

/// The migrations as PostgreSQL takes them. Texts compare by their bytes, as they
/// do in SQLite: ids, names and their order are the same in every locale. The
/// checksum stays that of the file.
pub(crate) fn migrations(of: &Migrator) -> Migrator {
    let migrations = of.iter().map(|migration| Migration {
        sql: AssertSqlSafe(translate(migration.sql.as_str())).into_sql_str(),
        ..migration.clone()
    });
    Migrator::with_migrations(migrations.collect())
}

fn translate(sql: &str) -> String {
    let word = |word: &str| match word.strip_prefix("TEXT") {
        Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
            format!("TEXT COLLATE \"C\"{rest}")
        }
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        if line.trim_start().starts_with("--") {
            return line.to_owned();
        }
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    sql.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_compare_by_bytes() {
        assert_eq!(
            translate("-- TEXT and\nid TEXT PRIMARY KEY,\nname TEXT,\nlast TEXT);\nn BIGINT"),
            "-- TEXT and\nid TEXT COLLATE \"C\" PRIMARY KEY,\nname TEXT COLLATE \"C\",\n\
             last TEXT COLLATE \"C\");\nn BIGINT"
        );
    }
}

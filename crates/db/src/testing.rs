//! New databases for tests: a file of SQLite's, or a database of the server that
//! `CHARTLIFT_TEST_POSTGRES` names by a URL, removed when the test ends.

use seal::KeyRing;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::Db;

/// Names the PostgreSQL server for tests: a URL with a user who may make databases.
pub const SERVER: &str = "CHARTLIFT_TEST_POSTGRES";

/// A database of the server for tests; removed when dropped.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
}

impl PostgresDatabase {
    /// Makes an empty database; none, said by a `SKIPPED:` line, without a server.
    ///
    /// # Panics
    /// If the server does not make one.
    pub async fn create() -> Option<Self> {
        let Some(server) = std::env::var(SERVER).ok().filter(|url| !url.is_empty()) else {
            println!("SKIPPED: no PostgreSQL: {SERVER} names no server");
            return None;
        };
        let id = model::EventId::new().to_string();
        let name = format!("chartlift_test_{}", id.trim_start_matches("evt_"));
        let text = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
        execute(&server, text).await.expect("make a database");
        Some(Self { server, name })
    }

    /// Where it is.
    ///
    /// # Panics
    /// If the server's URL names no database.
    #[must_use]
    pub fn url(&self) -> String {
        let (base, query) = match self.server.split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (self.server.as_str(), String::new()),
        };
        let (host, _) = base.rsplit_once('/').expect("the URL names a database");
        format!("{host}/{}{query}", self.name)
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let remove = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let text = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime
                .block_on(execute(&server, text))
                .map_err(std::io::Error::other)
        };
        // One that stays is in nobody's way.
        std::thread::spawn(remove).join().ok();
    }
}

async fn execute(server: &str, text: String) -> sqlx::Result<()> {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(text)).await?;
    connection.close().await
}

/// A migrated database of one test's own.
#[derive(Debug)]
pub struct TestDb {
    /// The database.
    pub db: Db,
    /// Where it is.
    pub url: String,
    _kept: (Option<tempfile::TempDir>, Option<PostgresDatabase>),
}

impl TestDb {
    /// In SQLite.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("make a folder");
        let url = format!("sqlite://{}", dir.path().join("test.db").display());
        Self::open(url, (Some(dir), None)).await
    }

    /// In PostgreSQL; none, said by a `SKIPPED:` line, without a server.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn postgres() -> Option<Self> {
        let database = PostgresDatabase::create().await?;
        Some(Self::open(database.url(), (None, Some(database))).await)
    }

    async fn open(
        url: String,
        kept: (Option<tempfile::TempDir>, Option<PostgresDatabase>),
    ) -> Self {
        let keys = KeyRing::from_base64(&KeyRing::generate()).expect("a key is one");
        let db = Db::connect(&url, keys).await.expect("open the database");
        db.migrate().await.expect("make the tables");
        Self {
            db,
            url,
            _kept: kept,
        }
    }
}

/// The events of a type, in their order: subject and body.
///
/// # Panics
/// If they cannot be read.
pub async fn events(db: &Db, kind: &str) -> Vec<(String, String)> {
    let rows = sqlx::query("SELECT subject_id, body FROM events WHERE type = $1 ORDER BY id")
        .bind(kind)
        .fetch_all(&db.reader)
        .await
        .expect("read the events");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Makes two tests of an `async fn` that takes a [`TestDb`]: `name::sqlite` and
/// `name::postgres`.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::testing::TestDb::sqlite().await).await;
            }

            #[tokio::test]
            async fn postgres() {
                if let Some(database) = $crate::testing::TestDb::postgres().await {
                    super::$name(database).await;
                }
            }
        }
    )+};
}

/// A connection of a patient to a portal, both new.
#[cfg(test)]
pub(crate) async fn connection(db: &Db) -> model::ConnectionId {
    let source = crate::NewSource::new("portal", "https://portal/fhir", "portal/fhir");
    let new = crate::NewConnection {
        patient_id: db.ensure_patient("ann").await.unwrap(),
        source_id: db.add_source(&source).await.unwrap(),
        source_patient_id: "1".to_owned(),
        token: None,
    };
    db.add_connection(&new).await.unwrap()
}

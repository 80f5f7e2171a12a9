//! A database with long lists: 100,000 patients, 10,000 pulls, 10,000 exports.

use anyhow::{Context, Result};
use db::{Db, NewApiKey, NewConnection, NewDestination, NewSource};
use model::{
    ConnectionId, DestinationId, ExportCounts, ExportId, FileFormat, PatientId, PullCounts, PullId,
    Scope,
};
use seal::KeyRing;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};

use super::Work;

const PATIENTS: usize = 100_000;
const RUNS: usize = 10_000;
/// Connections and destinations that the runs are of.
const OWNERS: usize = 100;
/// Rows a statement.
const ROWS: usize = 500;

/// An empty database of a server, by its URL.
pub(crate) async fn new_database(server: &str) -> Result<String> {
    let name = format!("chartlift_bench_{}", std::process::id());
    execute(
        server,
        format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"),
    )
    .await?;
    let (base, query) = server.split_once('?').unwrap_or((server, ""));
    let (host, _) = base.rsplit_once('/').context("the URL names a database")?;
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    Ok(format!("{host}/{name}{query}"))
}

/// Removes it again.
pub(crate) async fn remove_database(server: &str, url: &str) -> Result<()> {
    let base = url.split_once('?').map_or(url, |(base, _)| base);
    let (_, name) = base.rsplit_once('/').context("the URL names a database")?;
    execute(server, format!("DROP DATABASE {name} WITH (FORCE)")).await
}

async fn execute(server: &str, text: String) -> Result<()> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server).await?;
    sqlx::query(AssertSqlSafe(text))
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// Makes the tables and the rows.
pub(crate) async fn fill(database: String, pages: usize) -> Result<Work> {
    let encryption_key = KeyRing::generate();
    let db = Db::connect(&database, KeyRing::from_base64(&encryption_key)?).await?;
    db.migrate().await?;
    let new = NewApiKey {
        name: "bench".to_owned(),
        scopes: vec![Scope::Read],
        expires_at: None,
    };
    let (_, api_key) = db.add_api_key(&new).await?;
    let (connections, destinations) = owners(&db).await?;
    db.close().await;

    let mut connection = AnyConnection::connect(&database).await?;
    let counts = serde_json::to_string(&PullCounts::default())?;
    let head = "INSERT INTO patients (id, external_id, created_at) VALUES ";
    insert(&mut connection, PATIENTS, head, |row| {
        format!("('{}', 'member-{row}', {})", PatientId::new(), at(row))
    })
    .await?;
    let head = "INSERT INTO pulls (id, connection_id, state, phase, batch_seq, pages, counts, created_at, started_at, \
                finished_at, updated_at) VALUES ";
    insert(&mut connection, RUNS, head, |row| {
        let (id, of, at) = (PullId::new(), connections[row % OWNERS], at(row));
        format!(
            "('{id}', '{of}', 'completed', 'done', {row}, 12, '{counts}', {at}, {at}, {at}, {at})"
        )
    })
    .await?;
    let counts = serde_json::to_string(&ExportCounts::default())?;
    let head = "INSERT INTO exports (id, destination_id, state, phase, chunk_count, counts, patients, part_count, \
                size_bytes, publication_count, created_at, started_at, finished_at, updated_at) VALUES ";
    insert(&mut connection, RUNS, head, |row| {
        let (id, of, at) = (ExportId::new(), destinations[row % OWNERS], at(row));
        format!("('{id}', '{of}', 'completed', 'done', 1, '{counts}', 7, 12, 4096, 1, {at}, {at}, {at}, {at})")
    })
    .await?;
    sqlx::query("ANALYZE").execute(&mut connection).await?;
    connection.close().await?;
    Ok(Work {
        database,
        encryption_key,
        api_key,
        pages,
    })
}

/// Many rows, a few hundred a statement; the values are our own.
async fn insert(
    connection: &mut AnyConnection,
    count: usize,
    head: &str,
    mut values: impl FnMut(usize) -> String,
) -> Result<()> {
    let mut transaction = connection.begin().await?;
    for first in (0..count).step_by(ROWS) {
        let rows: Vec<String> = (first..count.min(first + ROWS)).map(&mut values).collect();
        let text = format!("{head}{}", rows.join(", "));
        sqlx::query(AssertSqlSafe(text))
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// When a row was made: a second after the one before.
fn at(row: usize) -> i64 {
    1_700_000_000_000_000 + i64::try_from(row).unwrap_or_default() * 1_000_000
}

async fn owners(db: &Db) -> Result<(Vec<ConnectionId>, Vec<DestinationId>)> {
    let source = NewSource::new("clinic", "https://ehr.example/fhir", "ehr.example/fhir");
    let source_id = db.add_source(&source).await?;
    let (mut connections, mut destinations) = (Vec::new(), Vec::new());
    for number in 0..OWNERS {
        let new = NewConnection {
            patient_id: db.ensure_patient(&format!("person-{number}")).await?,
            source_id,
            source_patient_id: number.to_string(),
            token: None,
        };
        connections.push(db.add_connection(&new).await?);
        let new = NewDestination {
            id: DestinationId::new(),
            name: format!("lake-{number}"),
            location: format!("/lake/{number}"),
            format: FileFormat::Parquet,
            credentials: None,
            awaits_test: false,
        };
        db.add_destination(&new).await?;
        destinations.push(new.id);
    }
    Ok((connections, destinations))
}

//! Patients, and their connections to sources.

use model::{
    AttachmentPolicy, ConnectionId, ConnectionStatus, PatientId, SourceId, Strategy, Timestamp,
};
use seal::Place;
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::page;
use crate::rates::RATE_COLUMNS;
use crate::row::Columns;
use crate::schedules::{interval, next_pull_at};
use crate::tokens::{forget_token, needs_reconnect};
use crate::{Db, Error, Result, SourceAuth, SourceLimits, SourceRate, lock};

/// A connection to add.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// Whose record.
    pub patient_id: PatientId,
    /// At which source.
    pub source_id: SourceId,
    /// The patient's id there; stored sealed.
    pub source_patient_id: String,
    /// The bearer token; stored sealed.
    pub token: Option<String>,
}

/// What lists show of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionSummary {
    /// Its id.
    pub id: ConnectionId,
    /// Whose record.
    pub patient_id: PatientId,
    /// The operator's name for that person.
    pub external_id: Option<String>,
    /// At which source.
    pub source_id: SourceId,
    /// Whether it can be pulled.
    pub status: ConnectionStatus,
    /// Whether it is pulled: it and its source are enabled.
    pub enabled: bool,
    /// The number of the last batch in its log; 0 before the first.
    pub head_seq: u64,
    /// Its own interval between two pulls, in seconds; 0: none by a schedule; none: as
    /// its source has it.
    pub pull_interval_s: Option<u32>,
    /// When it is pulled next by a schedule; none where none applies, or it is disabled
    /// or not active.
    pub next_pull_at: Option<Timestamp>,
    /// When added.
    pub created_at: Timestamp,
}

/// What is to change of a connection; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionChange<'a> {
    /// Whether it is pulled.
    pub enabled: Option<bool>,
    /// Seconds between two pulls by a schedule, 0 for none, or as its source has it.
    pub pull_interval_s: Option<Option<u32>>,
    /// The connection as the caller has seen it: only then it is changed.
    pub seen: Option<&'a ConnectionSummary>,
}

/// A connection with what a step needs to pull it. Its secrets are open: it is
/// never logged, and its `Debug` shows its id alone.
#[derive(Clone)]
pub struct Connection {
    /// What lists show.
    pub summary: ConnectionSummary,
    /// Where the source's API begins.
    pub base_url: String,
    /// The source's identity.
    pub source_identity: String,
    /// What the source is to bear.
    pub limits: SourceLimits,
    /// How often it is asked at the moment.
    pub rate: SourceRate,
    /// The types that are asked for, where not all are.
    pub types: Option<Vec<String>>,
    /// How the source is asked for a record.
    pub strategy: Strategy,
    /// What is done about attachments.
    pub attachments: AttachmentPolicy,
    /// The patient's id at the source.
    pub source_patient_id: String,
    /// How the source wants to be asked.
    pub auth: SourceAuth,
    /// The bearer token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.summary.id)
    }
}

const SUMMARY: &str = "connections.id AS id, connections.patient_id AS patient_id, patients.external_id AS external_id, \
     connections.source_id AS source_id, connections.status AS status, connections.enabled * sources.enabled AS enabled, \
     connections.head_seq AS head_seq, connections.created_at AS created_at, connections.last_pull_at AS last_pull_at, \
     connections.pull_interval_s AS pull_interval_s, sources.pull_interval_s AS source_pull_interval_s";

fn read_summary(row: &AnyRow) -> Result<ConnectionSummary> {
    let (id, status, enabled) = (row.word("id")?, row.word("status")?, row.flag("enabled")?);
    let created_at = row.time("created_at")?;
    let own = interval(row.optional_count("pull_interval_s")?)?;
    let of_source = interval(row.optional_count("source_pull_interval_s")?)?;
    let since = row.optional_time("last_pull_at")?.unwrap_or(created_at);
    let is_pulled = enabled && status == ConnectionStatus::Active;
    let every = own.or(of_source).filter(|every| is_pulled && *every > 0);
    Ok(ConnectionSummary {
        id,
        patient_id: row.word("patient_id")?,
        external_id: row.raw("external_id")?,
        source_id: row.word("source_id")?,
        status,
        enabled,
        head_seq: row.count("head_seq")?,
        pull_interval_s: own,
        next_pull_at: every.map(|every| next_pull_at(id, since, every)),
        created_at,
    })
}

impl Db {
    /// Adds a connection.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the patient is connected to the source already.
    pub async fn add_connection(&self, new: &NewConnection) -> Result<ConnectionId> {
        let id = ConnectionId::new();
        let mut tx = self.writer.begin().await?;
        self.insert_connection(&mut tx, id, new).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// Writes the row of a connection.
    pub(crate) async fn insert_connection(
        &self,
        tx: &mut Tx<'_>,
        id: ConnectionId,
        new: &NewConnection,
    ) -> Result<()> {
        let row = id.to_string();
        let patient = self.keys.seal(
            Place {
                column: "connections.source_patient_id",
                row: &row,
            },
            new.source_patient_id.as_bytes(),
        )?;
        let token = new
            .token
            .as_ref()
            .map(|token| {
                self.keys.seal(
                    Place {
                        column: "connections.token",
                        row: &row,
                    },
                    token.as_bytes(),
                )
            })
            .transpose()?;
        sqlx::query(
            "INSERT INTO connections (id, patient_id, source_id, status, enabled, source_patient_id_sealed, \
             token_sealed, log_version, head_seq, pull_failures, pull_not_before, created_at) \
             VALUES ($1, $2, $3, 'active', 1, $4, $5, 0, 0, 0, 0, $6)",
        )
        .bind(&row)
        .bind(new.patient_id.to_string())
        .bind(new.source_id.to_string())
        .bind(patient)
        .bind(token)
        .bind(Timestamp::now().0)
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            Error::unique(error, || format!("patient {} is connected to {} already", new.patient_id, new.source_id))
        })?;
        Ok(())
    }

    /// Connections in the order they were added, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn connections(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionSummary>> {
        let text = format!(
            "SELECT {SUMMARY} FROM connections JOIN patients ON patients.id = connections.patient_id \
             JOIN sources ON sources.id = connections.source_id WHERE connections.id > $1 ORDER BY connections.id LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read_summary).collect()
    }

    /// Connections, newest first, of one patient or source or all; before `before`,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn newest_connections(
        &self,
        patient: Option<PatientId>,
        source: Option<SourceId>,
        before: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionSummary>> {
        let of_patient = page::only("connections.patient_id", 1, patient.is_some());
        let at_source = page::only("connections.source_id", 2, source.is_some());
        let text = format!(
            "SELECT {SUMMARY} FROM connections JOIN patients ON patients.id = connections.patient_id \
             JOIN sources ON sources.id = connections.source_id WHERE {of_patient} AND {at_source} \
             AND connections.id < $3 ORDER BY connections.id DESC LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(patient.map(|id| id.to_string()).unwrap_or_default())
            .bind(source.map(|id| id.to_string()).unwrap_or_default())
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read_summary).collect()
    }

    /// Gives up a connection: its token is forgotten, and it is not pulled again.
    /// What it brought stays. Doing so twice is doing it once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_connection(&self, id: ConnectionId) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        let done = sqlx::query(
            "UPDATE connections SET status = 'revoked', token_sealed = NULL WHERE id = $1",
        )
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(not_found(id));
        }
        forget_token(&mut tx, &id.to_string()).await?;
        self.commit(tx, id).await
    }

    /// What lists show of a connection.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection_summary(&self, id: ConnectionId) -> Result<ConnectionSummary> {
        let row = sqlx::query(sqlx::AssertSqlSafe(one()))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        read_summary(&row.ok_or_else(|| not_found(id))?)
    }

    /// A connection with its source, opened.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Sealed`] if the key is not the one it was
    /// sealed with.
    pub async fn connection(&self, id: ConnectionId) -> Result<Connection> {
        let text = format!(
            "SELECT {SUMMARY}, sources.base_url AS base_url, sources.identity AS identity, \
             sources.requests_per_second AS requests_per_second, sources.concurrent_requests AS concurrent_requests, \
             sources.concurrent_pulls AS concurrent_pulls, sources.types AS types, sources.strategy AS strategy, \
             sources.attachments AS attachments, sources.auth AS auth, {RATE_COLUMNS}, \
             connections.source_patient_id_sealed AS source_patient_id_sealed, connections.token_sealed AS token_sealed \
             FROM connections JOIN patients ON patients.id = connections.patient_id \
             JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN rates ON rates.subject_id = connections.source_id WHERE connections.id = $1"
        );
        let row_id = id.to_string();
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(&row_id)
            .fetch_optional(&self.reader)
            .await?
            .ok_or_else(|| Error::NotFound {
                noun: "connection",
                id: row_id.clone(),
            })?;
        let open = |column: &str, sealed: &str| {
            let plain = self.keys.open(
                Place {
                    column,
                    row: &row_id,
                },
                sealed,
            )?;
            String::from_utf8(plain).map_err(|_| crate::row::corrupt(column))
        };
        Ok(Connection {
            summary: read_summary(&row)?,
            base_url: row.text("base_url")?,
            source_identity: row.text("identity")?,
            limits: SourceLimits::read(&row)?,
            rate: SourceRate::read(&row)?,
            auth: row.word("auth")?,
            types: crate::sources::types(&row)?,
            strategy: row.word("strategy")?,
            attachments: row.word("attachments")?,
            source_patient_id: open(
                "connections.source_patient_id",
                &row.text("source_patient_id_sealed")?,
            )?,
            token: row
                .raw::<Option<String>>("token_sealed")?
                .map(|sealed| open("connections.token", &sealed))
                .transpose()?,
        })
    }

    /// Changes a connection, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] if it is not as it was seen.
    pub async fn change_connection(
        &self,
        id: ConnectionId,
        change: ConnectionChange<'_>,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, id).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(one()))
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let connection = read_summary(&row.ok_or_else(|| not_found(id))?)?;
        if change.seen.is_some_and(|seen| *seen != connection) {
            return Err(Error::Changed);
        }
        if let Some(enabled) = change.enabled {
            sqlx::query("UPDATE connections SET enabled = $1 WHERE id = $2")
                .bind(i64::from(enabled))
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        if let Some(every) = change.pull_interval_s {
            sqlx::query("UPDATE connections SET pull_interval_s = $1 WHERE id = $2")
                .bind(every.map(i64::from))
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        self.commit(tx, id).await
    }

    /// Notes that a connection's grant is not honoured, with an event; one that was
    /// given up stays so.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn set_needs_reconnect(&self, id: ConnectionId, error_code: &str) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, id).await?;
        needs_reconnect(&mut tx, id, error_code).await?;
        Ok(tx.commit().await?)
    }
}

/// The query of one summary.
fn one() -> String {
    format!(
        "SELECT {SUMMARY} FROM connections JOIN patients ON patients.id = connections.patient_id \
         JOIN sources ON sources.id = connections.source_id WHERE connections.id = $1"
    )
}

fn not_found(id: ConnectionId) -> Error {
    Error::NotFound {
        noun: "connection",
        id: id.to_string(),
    }
}

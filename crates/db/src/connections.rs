//! Connections of patients to sources: adding one, and opening one to pull it.

use model::{AttachmentPolicy, ConnectionId, PatientId, SourceId, Strategy, Timestamp};
use seal::Place;

use crate::call::Tx;
use crate::connection_summaries::{ConnectionSummary, columns, not_found, read_summary};
use crate::rates::RATE_COLUMNS;
use crate::row::Columns;
use crate::schedules::{reschedule_connection, share};
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
        // Nobody changes its interval meanwhile.
        lock::source(tx, new.source_id).await?;
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
             token_sealed, log_version, head_seq, pull_failures, pull_not_before, created_at, pull_share) \
             VALUES ($1, $2, $3, 'active', 1, $4, $5, 0, 0, 0, 0, $6, $7)",
        )
        .bind(&row)
        .bind(new.patient_id.to_string())
        .bind(new.source_id.to_string())
        .bind(patient)
        .bind(token)
        .bind(Timestamp::now().0)
        .bind(share(id))
        .execute(&mut **tx)
        .await
        .map_err(|error| {
            Error::unique(error, || format!("patient {} is connected to {} already", new.patient_id, new.source_id))
        })?;
        reschedule_connection(tx, id).await
    }

    /// A connection with its source, opened.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Sealed`] if the key is not the one it was
    /// sealed with.
    pub async fn connection(&self, id: ConnectionId) -> Result<Connection> {
        let text = format!(
            "SELECT {}, sources.base_url AS base_url, sources.identity AS identity, \
             sources.requests_per_second AS requests_per_second, sources.concurrent_requests AS concurrent_requests, \
             sources.concurrent_pulls AS concurrent_pulls, sources.types AS types, sources.strategy AS strategy, \
             sources.attachments AS attachments, sources.auth AS auth, {RATE_COLUMNS}, \
             connections.source_patient_id_sealed AS source_patient_id_sealed, connections.token_sealed AS token_sealed \
             FROM connections JOIN patients ON patients.id = connections.patient_id \
             JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN rates ON rates.subject_id = connections.source_id WHERE connections.id = $1",
            columns()
        );
        let row_id = id.to_string();
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(&row_id)
            .fetch_optional(&self.reader)
            .await?
            .ok_or_else(|| not_found(id))?;
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
}

//! Sources: the portals records come from.

use model::{AttachmentPolicy, SourceId, Strategy, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::logins::{SourceLogin, read_login};
use crate::row::Columns;
use crate::schedules::interval;
use crate::{Db, Error, Result, SourceLimits};

/// How a source wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceAuth {
    /// No authentication.
    None,
    /// A bearer token per connection.
    Bearer,
    /// OAuth 2.0 client credentials: a token of our own, for a secret.
    ClientCredentials,
    /// SMART Backend Services: a token of our own, for a signature.
    BackendServices,
    /// SMART App Launch: each patient's grant, with a refresh token.
    Smart,
}

impl SourceAuth {
    /// Whether tokens are given out by the source, so that it is logged in to.
    #[must_use]
    pub fn has_login(self) -> bool {
        !matches!(self, Self::None | Self::Bearer)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::ClientCredentials => "client_credentials",
            Self::BackendServices => "backend_services",
            Self::Smart => "smart",
        }
    }
}

impl std::str::FromStr for SourceAuth {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        match word {
            "none" => Ok(Self::None),
            "bearer" => Ok(Self::Bearer),
            "client_credentials" => Ok(Self::ClientCredentials),
            "backend_services" => Ok(Self::BackendServices),
            "smart" => Ok(Self::Smart),
            _ => Err(format!(
                "`{word}` is not a way to authenticate; valid values are none, bearer, client_credentials, \
                 backend_services, smart"
            )),
        }
    }
}

/// A source to add.
#[derive(Debug, Clone)]
pub struct NewSource {
    /// A name for people, unique.
    pub name: String,
    /// Where its FHIR API begins.
    pub base_url: String,
    /// Its normalised base, frozen: ids hang on it.
    pub identity: String,
    /// How it wants to be asked.
    pub auth: SourceAuth,
    /// What it is to bear.
    pub limits: SourceLimits,
    /// How it is asked for a record.
    pub strategy: Strategy,
    /// The types that are asked for, where not all are.
    pub types: Option<Vec<String>>,
    /// How often its connections are pulled by a schedule, in seconds; none: not by one.
    pub pull_interval_s: Option<u32>,
    /// What is done about attachments.
    pub attachments: AttachmentPolicy,
}

impl NewSource {
    /// A source that is asked without a login, by searches, as often as workers like.
    #[must_use]
    pub fn new(name: &str, base_url: &str, identity: &str) -> Self {
        Self {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            identity: identity.to_owned(),
            auth: SourceAuth::None,
            limits: SourceLimits::default(),
            strategy: Strategy::default(),
            types: None,
            pull_interval_s: None,
            attachments: AttachmentPolicy::default(),
        }
    }
}

/// A FHIR R4 server or patient portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// Its name.
    pub name: String,
    /// Where its FHIR API begins; may be corrected.
    pub base_url: String,
    /// Its frozen identity.
    pub identity: String,
    /// How it wants to be asked.
    pub auth: SourceAuth,
    /// How it is logged in to, where it gives out tokens.
    pub login: Option<SourceLogin>,
    /// What it is to bear.
    #[serde(flatten)]
    pub limits: SourceLimits,
    /// The types that are asked for, where not all are.
    pub types: Option<Vec<String>>,
    /// How it is asked for a record.
    pub strategy: Strategy,
    /// What is done about attachments.
    pub attachments: AttachmentPolicy,
    /// How often its connections are pulled by a schedule, in seconds; none: not by one.
    pub pull_interval_s: Option<u32>,
    /// Whether it is pulled from.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

pub(crate) const COLUMNS: &str = "id, name, base_url, identity, auth, login, requests_per_second, concurrent_requests, \
     concurrent_pulls, types, strategy, attachments, pull_interval_s, enabled, created_at";

pub(crate) fn read(row: &AnyRow) -> Result<Source> {
    Ok(Source {
        id: row.word("id")?,
        name: row.text("name")?,
        base_url: row.text("base_url")?,
        identity: row.text("identity")?,
        auth: row.word("auth")?,
        login: read_login(row)?,
        limits: SourceLimits::read(row)?,
        types: types(row)?,
        strategy: row.word("strategy")?,
        attachments: row.word("attachments")?,
        pull_interval_s: interval(row.optional_count("pull_interval_s")?)?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
    })
}

/// Writes the row of a source.
pub(crate) async fn insert(tx: &mut Tx<'_>, id: SourceId, new: &NewSource) -> Result<()> {
    sqlx::query(
        "INSERT INTO sources (id, name, base_url, identity, auth, enabled, created_at, requests_per_second, \
         concurrent_requests, concurrent_pulls, strategy, attachments, types, pull_interval_s) \
         VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(id.to_string())
    .bind(&new.name)
    .bind(&new.base_url)
    .bind(&new.identity)
    .bind(new.auth.as_str())
    .bind(Timestamp::now().0)
    .bind(new.limits.requests_per_second.map(i64::from))
    .bind(new.limits.concurrent_requests.map(i64::from))
    .bind(new.limits.concurrent_pulls.map(i64::from))
    .bind(new.strategy.as_str())
    .bind(new.attachments.as_str())
    .bind(new.types.as_ref().map(crate::row::json))
    .bind(new.pull_interval_s.map(i64::from))
    .execute(&mut **tx)
    .await
    .map_err(|error| {
        Error::unique(error, || {
            format!(
                "there is a source named `{}`, or one at {}, already",
                new.name, new.identity
            )
        })
    })?;
    Ok(())
}

/// The types wanted of a source, in a row that has them.
pub(crate) fn types(row: &AnyRow) -> Result<Option<Vec<String>>> {
    row.optional_json("types")
}

impl Db {
    /// Adds a source.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its name or identity is taken.
    pub async fn add_source(&self, new: &NewSource) -> Result<SourceId> {
        let id = SourceId::new();
        let mut tx = self.writer.begin().await?;
        insert(&mut tx, id, new).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// All sources, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn sources(&self) -> Result<Vec<Source>> {
        let text = format!("SELECT {COLUMNS} FROM sources ORDER BY name");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The source with this id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn source(&self, id_or_name: &str) -> Result<Source> {
        let text = format!("SELECT {COLUMNS} FROM sources WHERE id = $1 OR name = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id_or_name)
            .fetch_optional(&self.reader)
            .await?;
        read(&row.ok_or_else(|| not_found(id_or_name))?)
    }
}

pub(crate) fn not_found(id: &str) -> Error {
    Error::NotFound {
        noun: "source",
        id: id.to_owned(),
    }
}

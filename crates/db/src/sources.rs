//! Sources: the portals records come from.

use model::{AttachmentPolicy, SourceId, Strategy, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::logins::{OpenLogin, SourceLogin, read_login};
use crate::rates::forget_throttling;
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

/// What is to change of a source; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceChange<'a> {
    /// Where its API begins; its identity stays.
    pub base_url: Option<&'a str>,
    /// How often it may be asked a second, or that workers ask as often as they like.
    /// A pull at work takes it over with its next step; what throttling has left of the
    /// rate is forgotten.
    pub requests_per_second: Option<Option<u32>>,
    /// Its requests that may wait for an answer, or that the workers' settings decide.
    pub concurrent_requests: Option<Option<u32>>,
    /// Its pulls that may be at work, or that the workers' settings decide.
    pub concurrent_pulls: Option<Option<u32>>,
    /// Which types are asked for, or that all are. What a type brought before stays.
    pub types: Option<Option<&'a [String]>>,
    /// How it is asked for a record. That it has refused a strategy is forgotten.
    pub strategy: Option<Strategy>,
    /// What is done about attachments. What was fetched before stays.
    pub attachments: Option<AttachmentPolicy>,
    /// How often its connections are pulled by a schedule, in seconds, or by none; a
    /// connection's own interval goes first.
    pub pull_interval_s: Option<Option<u32>>,
    /// Whether it is pulled from.
    pub enabled: Option<bool>,
    /// How it is logged in to. Tokens that it has given stay, and an endpoint that was
    /// to be left alone is asked again.
    pub login: Option<&'a OpenLogin>,
    /// The source as the caller has seen it: only then it is changed.
    pub seen: Option<&'a Source>,
}

const COLUMNS: &str = "id, name, base_url, identity, auth, login, requests_per_second, concurrent_requests, \
     concurrent_pulls, types, strategy, attachments, pull_interval_s, enabled, created_at";

fn read(row: &AnyRow) -> Result<Source> {
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

    /// Changes a source, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] if it is not as it was seen.
    pub async fn change_source(&self, id: SourceId, change: SourceChange<'_>) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        // An UPDATE before the read: a lock, as in `lock.rs`.
        let text =
            format!("UPDATE sources SET enabled = enabled WHERE id = $1 RETURNING {COLUMNS}");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let source = read(&row.ok_or_else(|| not_found(&id.to_string()))?)?;
        if change.seen.is_some_and(|seen| *seen != source) {
            return Err(Error::Changed);
        }
        let (limits, every) = (changed(source.limits, &change), change.pull_interval_s);
        let types = change.types.unwrap_or(source.types.as_deref());
        sqlx::query(
            "UPDATE sources SET base_url = $1, requests_per_second = $2, enabled = $3, types = $4, \
             concurrent_requests = $5, concurrent_pulls = $6, strategy = $7, pull_interval_s = $8, \
             attachments = $9 WHERE id = $10",
        )
        .bind(change.base_url.unwrap_or(&source.base_url))
        .bind(limits.requests_per_second.map(i64::from))
        .bind(i64::from(change.enabled.unwrap_or(source.enabled)))
        .bind(types.map(|types| crate::row::json(&types)))
        .bind(limits.concurrent_requests.map(i64::from))
        .bind(limits.concurrent_pulls.map(i64::from))
        .bind(change.strategy.unwrap_or(source.strategy).as_str())
        .bind(every.unwrap_or(source.pull_interval_s).map(i64::from))
        .bind(change.attachments.unwrap_or(source.attachments).as_str())
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        if change.enabled.is_some() || every.is_some() {
            crate::schedules::reschedule_source(&mut tx, id).await?;
        }
        if change.strategy.is_some() {
            crate::source_plans::forget_refusals(&mut tx, id).await?;
        }
        if change.requests_per_second.is_some() {
            forget_throttling(&mut tx, id).await?;
        }
        if let Some(login) = change.login {
            self.replace_login(&mut tx, id, login).await?;
        }
        self.commit(tx, id).await
    }
}

/// The limits as they are after a change.
fn changed(before: SourceLimits, change: &SourceChange<'_>) -> SourceLimits {
    SourceLimits {
        requests_per_second: change
            .requests_per_second
            .unwrap_or(before.requests_per_second),
        concurrent_requests: change
            .concurrent_requests
            .unwrap_or(before.concurrent_requests),
        concurrent_pulls: change.concurrent_pulls.unwrap_or(before.concurrent_pulls),
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        noun: "source",
        id: id.to_owned(),
    }
}

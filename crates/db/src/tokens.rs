//! Tokens and who refreshes them. A row is of a connection (a patient's grant) or of
//! a source (the client's own token). Its version counts pairs of tokens: whoever
//! refreshes one holds it first, by a conditional update, and what came of it is
//! stored only while that version stands and is held.
//!
//! Invariant: tokens are sealed; a lost grant, the state of its connection and the
//! event that tells of it are one transaction.

use std::fmt;
use std::time::Duration;

use model::{ConnectionId, EventId, Timestamp};
use seal::Place;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::row::{Columns, bigint};
use crate::{Db, Result, lock};

/// Taken for the life of a token whose source does not say.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// A longer life is not believed: the next refresh is never further away.
const LIFE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// The tokens of a subject, opened.
#[derive(Clone)]
pub struct StoredToken {
    /// Which pair of tokens this is.
    pub version: u64,
    /// The access token; none before the first, and where the grant is over.
    pub access: Option<String>,
    /// The refresh token, where there is one.
    pub refresh: Option<String>,
    /// When the pair was stored.
    pub obtained_at: Timestamp,
    /// From when on a new pair is to be had.
    pub refresh_at: Timestamp,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// Whether it was refreshed since the source refused the one before.
    pub after_refusal: bool,
    /// Until when somebody refreshes it.
    pub held_until: Timestamp,
    /// How often in a row that has failed.
    pub failures: u64,
    /// Until when the token endpoint is left alone.
    pub not_before: Timestamp,
    /// Why it failed last, or why the grant is over.
    pub error_code: Option<String>,
}

impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredToken(version {})", self.version)
    }
}

/// A pair of tokens to store.
#[derive(Clone, Default)]
pub struct NewToken {
    /// The access token.
    pub access: Option<String>,
    /// The refresh token; where there is none, the one before stays.
    pub refresh: Option<String>,
    /// What was granted; where that was not said, what was before stays.
    pub scope: Option<String>,
    /// How long the access token is good.
    pub expires_in: Option<Duration>,
    /// Whether the source had refused the one before.
    pub after_refusal: bool,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewToken(..)")
    }
}

/// The right to refresh a version.
#[derive(Debug, Clone)]
pub struct TokenLease {
    subject: String,
    version: u64,
    holder: String,
}

/// From when on a token is to be refreshed, and when it ends.
fn window(now: Timestamp, token: &NewToken) -> (Timestamp, Timestamp) {
    if token.access.is_none() {
        return (now, now);
    }
    let life = token.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT).min(LIFE_MAX);
    (now.after(life * 4 / 5), now.after(life))
}

fn access_place(subject: &str) -> Place<'_> {
    Place {
        column: "tokens.access",
        row: subject,
    }
}

fn refresh_place(subject: &str) -> Place<'_> {
    Place {
        column: "tokens.refresh",
        row: subject,
    }
}

impl Db {
    /// The tokens of a subject; none where there never were any, or they were
    /// forgotten.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the key is not the one they were sealed with.
    pub async fn token(&self, subject: &str) -> Result<Option<StoredToken>> {
        let row = sqlx::query(
            "SELECT version, access_sealed, refresh_sealed, obtained_at, refresh_at, expires_at, after_refusal, \
             held_until, failures, not_before, error_code FROM tokens WHERE subject_id = $1",
        )
        .bind(subject)
        .fetch_optional(&self.reader)
        .await?;
        row.map(|row| self.read_token(&row, subject)).transpose()
    }

    fn read_token(&self, row: &AnyRow, subject: &str) -> Result<StoredToken> {
        let open = |column: &str, place| {
            let sealed: Option<String> = row.raw(column)?;
            let plain = sealed
                .map(|sealed| self.keys.open(place, &sealed))
                .transpose()?;
            let text = plain.map(String::from_utf8).transpose();
            text.map_err(|_| crate::row::corrupt(column))
        };
        Ok(StoredToken {
            version: row.count("version")?,
            access: open("access_sealed", access_place(subject))?,
            refresh: open("refresh_sealed", refresh_place(subject))?,
            obtained_at: row.time("obtained_at")?,
            refresh_at: row.time("refresh_at")?,
            expires_at: row.time("expires_at")?,
            after_refusal: row.flag("after_refusal")?,
            held_until: row.time("held_until")?,
            failures: row.count("failures")?,
            not_before: row.time("not_before")?,
            error_code: row.raw("error_code")?,
        })
    }

    /// Makes the row of a subject that gets its first token by asking.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn ensure_token(&self, subject: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO tokens (subject_id, version, obtained_at, refresh_at, expires_at, after_refusal, holder, \
             held_until, failures, not_before) VALUES ($1, 0, 0, 0, 0, 0, '', 0, 0, 0) \
             ON CONFLICT (subject_id) DO NOTHING",
        )
        .bind(subject)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Takes the right to refresh a version for `term`; none where somebody has it,
    /// another version stands, or the endpoint is to be left alone.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn lease_token(
        &self,
        subject: &str,
        version: u64,
        term: Duration,
    ) -> Result<Option<TokenLease>> {
        let now = Timestamp::now();
        let holder = EventId::new().to_string();
        let leased = sqlx::query(
            "UPDATE tokens SET holder = $1, held_until = $2 \
             WHERE subject_id = $3 AND version = $4 AND held_until < $5 AND not_before <= $5",
        )
        .bind(&holder)
        .bind(now.after(term).0)
        .bind(subject)
        .bind(bigint(version))
        .bind(now.0)
        .execute(&self.writer)
        .await?;
        Ok((leased.rows_affected() > 0).then(|| TokenLease {
            subject: subject.to_owned(),
            version,
            holder,
        }))
    }

    /// Stores what a refresh gave, as the next version; false if the lease had ended
    /// and somebody else has taken it, or the tokens were forgotten meanwhile.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn store_token(&self, lease: &TokenLease, new: &NewToken) -> Result<bool> {
        let now = Timestamp::now();
        let (refresh_at, expires_at) = window(now, new);
        let (access, refresh) = self.seal_tokens(&lease.subject, new)?;
        let stored = sqlx::query(
            "UPDATE tokens SET version = version + 1, access_sealed = $1, \
             refresh_sealed = COALESCE($2, refresh_sealed), scope = COALESCE($3, scope), obtained_at = $4, \
             refresh_at = $5, expires_at = $6, after_refusal = $7, holder = '', held_until = 0, failures = 0, \
             not_before = 0, error_code = NULL WHERE subject_id = $8 AND version = $9 AND holder = $10",
        )
        .bind(access)
        .bind(refresh)
        .bind(&new.scope)
        .bind(now.0)
        .bind(refresh_at.0)
        .bind(expires_at.0)
        .bind(i64::from(new.after_refusal))
        .bind(&lease.subject)
        .bind(bigint(lease.version))
        .bind(&lease.holder)
        .execute(&self.writer)
        .await?;
        Ok(stored.rows_affected() > 0)
    }

    fn seal_tokens(
        &self,
        subject: &str,
        new: &NewToken,
    ) -> Result<(Option<String>, Option<String>)> {
        let seal = |text: &Option<String>, place| {
            let sealed = text
                .as_ref()
                .map(|text| self.keys.seal(place, text.as_bytes()));
            sealed.transpose()
        };
        Ok((
            seal(&new.access, access_place(subject))?,
            seal(&new.refresh, refresh_place(subject))?,
        ))
    }

    /// Gives a lease back after a failure that says nothing about the grant: the
    /// endpoint is left alone until `not_before`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn token_failed(
        &self,
        lease: &TokenLease,
        error_code: &str,
        not_before: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE tokens SET holder = '', held_until = 0, failures = failures + 1, not_before = $1, error_code = $2 \
             WHERE subject_id = $3 AND version = $4 AND holder = $5",
        )
        .bind(not_before.0)
        .bind(error_code)
        .bind(&lease.subject)
        .bind(bigint(lease.version))
        .bind(&lease.holder)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// A connection's grant is over: its tokens are forgotten, it needs to be
    /// connected again, and an event says so. False if the lease had ended and
    /// somebody else has taken it: then nothing is known.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn grant_lost(
        &self,
        lease: &TokenLease,
        connection: ConnectionId,
        error_code: &str,
    ) -> Result<bool> {
        let mut tx = self.writer.begin().await?;
        lock::connection(&mut tx, connection).await?;
        let lost = sqlx::query(
            "UPDATE tokens SET version = version + 1, access_sealed = NULL, refresh_sealed = NULL, holder = '', \
             held_until = 0, failures = 0, not_before = 0, error_code = $1 \
             WHERE subject_id = $2 AND version = $3 AND holder = $4",
        )
        .bind(error_code)
        .bind(&lease.subject)
        .bind(bigint(lease.version))
        .bind(&lease.holder)
        .execute(&mut *tx)
        .await?;
        if lost.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        needs_reconnect(&mut tx, connection, error_code).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Puts imported tokens in the place of a subject's, whoever holds these.
    pub(crate) async fn import_token(
        &self,
        tx: &mut Tx<'_>,
        subject: &str,
        new: &NewToken,
    ) -> Result<()> {
        let now = Timestamp::now();
        let (refresh_at, expires_at) = window(now, new);
        let (access, refresh) = self.seal_tokens(subject, new)?;
        sqlx::query(
            "INSERT INTO tokens (subject_id, version, access_sealed, refresh_sealed, scope, obtained_at, refresh_at, \
             expires_at, after_refusal, holder, held_until, failures, not_before) \
             VALUES ($1, 1, $2, $3, $4, $5, $6, $7, 0, '', 0, 0, 0) ON CONFLICT (subject_id) DO UPDATE SET \
             version = tokens.version + 1, access_sealed = excluded.access_sealed, \
             refresh_sealed = excluded.refresh_sealed, scope = excluded.scope, obtained_at = excluded.obtained_at, \
             refresh_at = excluded.refresh_at, expires_at = excluded.expires_at, after_refusal = 0, holder = '', \
             held_until = 0, failures = 0, not_before = 0, error_code = NULL",
        )
        .bind(subject)
        .bind(access)
        .bind(refresh)
        .bind(&new.scope)
        .bind(now.0)
        .bind(refresh_at.0)
        .bind(expires_at.0)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

/// Forgets the tokens of a subject: what is refreshed meanwhile is not stored.
pub(crate) async fn forget_token(tx: &mut Tx<'_>, subject: &str) -> Result<()> {
    sqlx::query("DELETE FROM tokens WHERE subject_id = $1")
        .bind(subject)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes that a connection has to be made again, with its event; one that is known to
/// need that, or was given up, stays as it is.
pub(crate) async fn needs_reconnect(
    tx: &mut Tx<'_>,
    connection: ConnectionId,
    error_code: &str,
) -> Result<()> {
    let id = connection.to_string();
    let changed = sqlx::query(
        "UPDATE connections SET status = 'needs_reconnect' WHERE id = $1 AND status = 'active'",
    )
    .bind(&id)
    .execute(&mut **tx)
    .await?;
    if changed.rows_affected() > 0 {
        let body = serde_json::json!({ "error_code": error_code });
        crate::settle::insert_event(tx, "connection.needs_reconnect", &id, &body).await?;
    }
    Ok(())
}

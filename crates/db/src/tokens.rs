//! Tokens as they are stored. A row is of a connection (a patient's grant) or of a
//! source (the client's own token); its version counts pairs of tokens. Who refreshes
//! them: `token_leases.rs`.
//!
//! Invariant: tokens are sealed.

use std::fmt;
use std::time::Duration;

use model::Timestamp;
use seal::Place;
use sqlx::any::AnyRow;

use crate::call::Tx;
use crate::row::Columns;
use crate::{Db, Result};

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

/// From when on a token is to be refreshed, and when it ends.
pub(crate) fn window(now: Timestamp, token: &NewToken) -> (Timestamp, Timestamp) {
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

    pub(crate) fn seal_tokens(
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

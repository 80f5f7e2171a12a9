//! Keys to the API: only their hashes are kept.

use model::{KeyId, Scope, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::page;
use crate::row::{Columns, corrupt};
use crate::{Db, Error, Result};

/// A key to the API, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// Since when it is not.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The key that took its place.
    pub replaced_by: Option<KeyId>,
}

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
}

const COLUMNS: &str =
    "id, name, scopes, created_at, expires_at, revoked_at, last_used_at, replaced_by";
/// How exact `last_used_at` is: a write a minute, not one a request.
const USED_MICROS: i64 = 60_000_000;

fn read(row: &AnyRow) -> Result<ApiKey> {
    let scopes = row.text("scopes")?;
    let scopes: std::result::Result<_, _> = scopes.split_whitespace().map(str::parse).collect();
    Ok(ApiKey {
        id: row.word("id")?,
        name: row.text("name")?,
        scopes: scopes.map_err(|_| corrupt("scopes"))?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        revoked_at: row.optional_time("revoked_at")?,
        last_used_at: row.optional_time("last_used_at")?,
        replaced_by: row.optional_word("replaced_by")?,
    })
}

impl Db {
    /// Makes a key. The text is returned this once and kept nowhere.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn add_api_key(&self, new: &NewApiKey) -> Result<(KeyId, String)> {
        let mut tx = self.writer.begin().await?;
        let made = insert(&mut tx, new).await?;
        self.commit_made(tx, made.0, Some(&made.1)).await?;
        Ok(made)
    }

    /// Makes a key that takes the place of another, which stays good until
    /// `old_until`, or for as long as it was.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for one that is revoked, expired or
    /// replaced already.
    pub async fn rotate_api_key(&self, id: KeyId, old_until: Timestamp) -> Result<(KeyId, String)> {
        let old = self.api_key(id).await?;
        let new = NewApiKey {
            name: old.name,
            scopes: old.scopes,
            expires_at: None,
        };
        let mut tx = self.writer.begin().await?;
        let made = insert(&mut tx, &new).await?;
        let done = sqlx::query(
            "UPDATE api_keys SET replaced_by = $1, expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END \
             WHERE id = $3 AND replaced_by IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $4)",
        )
        .bind(made.0.to_string())
        .bind(old_until.0)
        .bind(id.to_string())
        .bind(Timestamp::now().0)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            tx.rollback().await?;
            return Err(Error::Conflict {
                what: format!("key {id} is revoked, expired or replaced already: make a new one"),
            });
        }
        self.commit_made(tx, made.0, Some(&made.1)).await?;
        Ok(made)
    }

    /// Revokes a key, from the next request on; revoking twice is revoking once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_api_key(&self, id: KeyId) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        let done =
            sqlx::query("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2")
                .bind(Timestamp::now().0)
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        if done.rows_affected() == 0 {
            return Err(not_found(id));
        }
        self.commit(tx, id).await
    }

    /// The key with this text, if it is good now; notes that it was used.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn use_api_key(&self, text: &str) -> Result<Option<ApiKey>> {
        // A mistyped one is told by its check characters.
        let Some(hash) = seal::api_key_hash(text) else {
            return Ok(None);
        };
        let now = Timestamp::now();
        let query = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE hash = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(hash)
            .bind(now.0)
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key = read(&row)?;
        if key.last_used_at.is_none_or(|at| at.0 < now.0 - USED_MICROS) {
            sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2")
                .bind(now.0)
                .bind(key.id.to_string())
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(key))
    }

    /// A key.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn api_key(&self, id: KeyId) -> Result<ApiKey> {
        let text = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .fetch_optional(&self.writer)
            .await?;
        read(&row.ok_or_else(|| not_found(id))?)
    }

    /// Keys, newest first; before `before`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn api_keys(&self, before: Option<KeyId>, limit: u32) -> Result<Vec<ApiKey>> {
        let text =
            format!("SELECT {COLUMNS} FROM api_keys WHERE id < $1 ORDER BY id DESC LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(page::before(before))
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }
}

async fn insert(tx: &mut crate::call::Tx<'_>, new: &NewApiKey) -> Result<(KeyId, String)> {
    let (id, key) = (KeyId::new(), seal::new_api_key());
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO api_keys (id, name, hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.to_string())
    .bind(&new.name)
    .bind(seal::api_key_hash(&key).expect("a new key is well-formed"))
    .bind(scopes.join(" "))
    .bind(Timestamp::now().0)
    .bind(new.expires_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok((id, key))
}

fn not_found(id: KeyId) -> Error {
    Error::NotFound {
        noun: "key",
        id: id.to_string(),
    }
}

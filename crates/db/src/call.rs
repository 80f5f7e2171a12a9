//! Calls of the API: what each leaves beside its effect, in the same transaction.
//! An audit entry says who did what; an idempotency row says that the effect of a
//! key has happened.

use std::sync::Arc;

use model::{KeyId, Timestamp};
use seal::Place;

use crate::audit::add_audit;
use crate::row::Columns;
use crate::{Db, Error, Result};

pub(crate) type Tx<'a> = sqlx::Transaction<'a, sqlx::Any>;

/// A call on whose behalf the database is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The API key it came with.
    pub key: KeyId,
    /// What it does: `pull.start`.
    pub action: &'static str,
    /// What it is known by, if it may be repeated.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key` and what was asked under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// A hash over method, path and body.
    pub fingerprint: String,
}

/// What has happened under an `Idempotency-Key`. Not for logs: it may hold a key.
#[derive(Clone)]
pub struct Answered {
    /// The API key it was used with.
    pub api_key_id: KeyId,
    /// What was asked.
    pub fingerprint: String,
    /// What the effect made or changed.
    pub subject_id: String,
    /// The answer that was given; none if the process ended before it was kept.
    pub answer: Option<Vec<u8>>,
    /// The text of a key that was made, until the answer is kept.
    pub secret: Option<String>,
}

impl Db {
    /// This database, changed on behalf of a call: the next change leaves its audit
    /// entry and its idempotency row.
    #[must_use]
    pub fn on_behalf_of(&self, call: Call) -> Self {
        let mut db = self.clone();
        db.call = Some(Arc::new(call));
        db
    }

    /// Commits a change of `subject`, with what its call leaves.
    ///
    /// # Errors
    /// [`Error::Repeated`], and nothing is changed, where the effect of the call's
    /// key has happened already.
    pub(crate) async fn commit(&self, tx: Tx<'_>, subject: impl ToString) -> Result<()> {
        self.commit_made(tx, subject, None).await
    }

    /// As [`Self::commit`], where `secret` is the text of a key that was made: a call
    /// that is repeated finds it until its answer is kept.
    pub(crate) async fn commit_made(
        &self,
        mut tx: Tx<'_>,
        subject: impl ToString,
        secret: Option<&str>,
    ) -> Result<()> {
        if let Some(call) = &self.call {
            let subject = subject.to_string();
            if let Some(idempotency) = &call.idempotency {
                let place = secret_place(&idempotency.key);
                let secret = secret.map(|text| self.keys.seal(place, text.as_bytes()));
                let secret = secret.transpose()?;
                if !keep(&mut tx, call.key, idempotency, &subject, secret).await? {
                    tx.rollback().await?;
                    return Err(Error::Repeated);
                }
            }
            add_audit(
                &mut tx,
                Some(call.key),
                call.action,
                &subject,
                &serde_json::json!({}),
            )
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// What has happened under an `Idempotency-Key`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn answered(&self, key: &str) -> Result<Option<Answered>> {
        let row = sqlx::query(
            "SELECT api_key_id, fingerprint, subject_id, answer_sealed, secret_sealed FROM idempotency_keys \
             WHERE idempotency_key = $1",
        )
        .bind(key)
        .fetch_optional(&self.writer)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: Option<String> = row.raw("answer_sealed")?;
        let answer = sealed
            .map(|sealed| self.keys.open(answer_place(key), &sealed))
            .transpose()?;
        let sealed: Option<String> = row.raw("secret_sealed")?;
        let secret = sealed
            .map(|sealed| self.keys.open(secret_place(key), &sealed))
            .transpose()?;
        Ok(Some(Answered {
            api_key_id: row.word("api_key_id")?,
            fingerprint: row.text("fingerprint")?,
            subject_id: row.text("subject_id")?,
            answer,
            secret: secret.and_then(|secret| String::from_utf8(secret).ok()),
        }))
    }

    /// Keeps the answer to a call; the first one stays.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn keep_answer(&self, key: &str, answer: &[u8]) -> Result<()> {
        let sealed = self.keys.seal(answer_place(key), answer)?;
        sqlx::query(
            "UPDATE idempotency_keys SET answer_sealed = $1, secret_sealed = NULL \
             WHERE idempotency_key = $2 AND answer_sealed IS NULL",
        )
        .bind(sealed)
        .bind(key)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Forgets up to `limit` of what was done under an `Idempotency-Key` before
    /// `before`. Returns how many went.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let gone = sqlx::query(
            "DELETE FROM idempotency_keys WHERE idempotency_key IN \
             (SELECT idempotency_key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
        )
        .bind(before.0)
        .bind(i64::from(limit))
        .execute(&self.writer)
        .await?;
        Ok(gone.rows_affected())
    }
}

fn answer_place(key: &str) -> Place<'_> {
    Place {
        column: "idempotency_keys.answer",
        row: key,
    }
}

fn secret_place(key: &str) -> Place<'_> {
    Place {
        column: "idempotency_keys.secret",
        row: key,
    }
}

/// Notes that the effect of a key happens; false if it has already.
async fn keep(
    tx: &mut Tx<'_>,
    api_key: KeyId,
    idempotency: &Idempotency,
    subject: &str,
    secret_sealed: Option<String>,
) -> Result<bool> {
    let kept = sqlx::query(
        "INSERT INTO idempotency_keys (idempotency_key, api_key_id, fingerprint, subject_id, created_at, \
         secret_sealed) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(&idempotency.key)
    .bind(api_key.to_string())
    .bind(&idempotency.fingerprint)
    .bind(subject)
    .bind(Timestamp::now().0)
    .bind(secret_sealed)
    .execute(&mut **tx)
    .await?;
    Ok(kept.rows_affected() > 0)
}

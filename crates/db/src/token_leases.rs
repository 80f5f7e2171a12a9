//! Who refreshes the tokens of a subject: whoever does holds their version first, by a
//! conditional update, and what came of it is stored only while that version stands and
//! is held.
//!
//! Invariant: a lost grant, the state of its connection and the event that tells of it
//! are one transaction.

use std::time::Duration;

use model::{ConnectionId, EventId, Timestamp};
use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use crate::connection_changes::needs_reconnect;
use crate::row::bigint;
use crate::tokens::{NewToken, window};
use crate::{Db, Result, lock};

/// The right to refresh a version.
#[derive(Debug, Clone)]
pub struct TokenLease {
    subject: String,
    version: u64,
    holder: String,
}

impl TokenLease {
    /// The change, with values from $4 on, that gives the lease back; of no row where it
    /// has ended and somebody else has taken it.
    fn end<'q>(&self, change: &str) -> Query<'q, Any, AnyArguments> {
        let text = format!(
            "UPDATE tokens SET {change}, holder = '', held_until = 0 WHERE subject_id = $1 AND version = $2 AND holder = $3"
        );
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(self.subject.clone())
            .bind(bigint(self.version))
            .bind(self.holder.clone())
    }
}

impl Db {
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
        let stored = lease
            .end(
                "version = version + 1, access_sealed = $4, refresh_sealed = COALESCE($5, refresh_sealed), \
                 scope = COALESCE($6, scope), obtained_at = $7, refresh_at = $8, expires_at = $9, after_refusal = $10, \
                 failures = 0, not_before = 0, error_code = NULL",
            )
            .bind(access)
            .bind(refresh)
            .bind(&new.scope)
            .bind(now.0)
            .bind(refresh_at.0)
            .bind(expires_at.0)
            .bind(i64::from(new.after_refusal))
            .execute(&self.writer)
            .await?;
        Ok(stored.rows_affected() > 0)
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
        lease
            .end("failures = failures + 1, not_before = $4, error_code = $5")
            .bind(not_before.0)
            .bind(error_code)
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
        let lost = lease
            .end(
                "version = version + 1, access_sealed = NULL, refresh_sealed = NULL, failures = 0, not_before = 0, \
                 error_code = $4",
            )
            .bind(error_code)
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
}

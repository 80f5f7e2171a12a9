//! The keys by which Chartlift proves who it is: what is published of them, and what
//! signs now.
//!
//! A new key is published at once and signs only when nobody can still have an
//! answer of before (`signs_from`); the one before it stays published until nothing
//! that it signed can be good (`published_until`). Then its row goes.

use std::fmt;
use std::time::Duration;

use model::{SigningAlgorithm, Timestamp};
use seal::Place;

use crate::row::Columns;
use crate::{Db, Result};

/// How the times of a change of keys follow from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOverlap {
    /// How long an answer with our public keys may be kept.
    pub cached: Duration,
    /// How long after it was signed something can be good, clocks apart.
    pub signed: Duration,
}

/// A key to add. Not for logs.
#[derive(Clone)]
pub struct NewSigningKey {
    /// Its name.
    pub kid: String,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// Its public half, a JSON Web Key.
    pub public_jwk: String,
    /// The whole key (PKCS #8); stored sealed.
    pub pkcs8: Vec<u8>,
}

/// A key that signs. Not for logs.
#[derive(Clone)]
pub struct StoredSigningKey {
    /// Its name.
    pub kid: String,
    /// What it signs with.
    pub algorithm: SigningAlgorithm,
    /// The whole key (PKCS #8).
    pub pkcs8: Vec<u8>,
}

impl fmt::Debug for NewSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewSigningKey({})", self.kid)
    }
}

impl fmt::Debug for StoredSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSigningKey({})", self.kid)
    }
}

fn place(kid: &str) -> Place<'_> {
    Place {
        column: "signing_keys.private",
        row: kid,
    }
}

impl Db {
    /// Adds keys to a deployment that has none of their algorithms; others stay away.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn add_first_signing_keys(&self, keys: &[NewSigningKey]) -> Result<()> {
        let now = Timestamp::now();
        let mut tx = self.writer.begin().await?;
        lock_keys(&mut tx).await?;
        for key in keys {
            let there = sqlx::query("SELECT 1 AS one FROM signing_keys WHERE algorithm = $1")
                .bind(key.algorithm.as_str())
                .fetch_optional(&mut *tx)
                .await?;
            if there.is_none() {
                self.insert_key(&mut tx, key, now, now).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Puts new keys in the place of those of the same algorithm. With an overlap the
    /// new ones sign once every kept answer has them, and the old ones stay published
    /// as long as anything they have signed; without, the old ones are gone at once.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn rotate_signing_keys(
        &self,
        keys: &[NewSigningKey],
        overlap: Option<KeyOverlap>,
    ) -> Result<()> {
        let now = Timestamp::now();
        let (signs_from, published_until) = match overlap {
            Some(overlap) => {
                let signs_from = now.after(overlap.cached);
                (
                    signs_from,
                    signs_from.after(overlap.signed + overlap.cached),
                )
            }
            None => (now, now),
        };
        let mut tx = self.writer.begin().await?;
        lock_keys(&mut tx).await?;
        for key in keys {
            // One that has an end already keeps it, unless all are to end now.
            sqlx::query(
                "UPDATE signing_keys SET published_until = $1 WHERE algorithm = $2 \
                 AND (published_until IS NULL OR published_until > $1)",
            )
            .bind(published_until.0)
            .bind(key.algorithm.as_str())
            .execute(&mut *tx)
            .await?;
            // The first of an algorithm has nothing to wait for.
            let before = sqlx::query(
                "SELECT 1 AS one FROM signing_keys WHERE algorithm = $1 AND signs_from <= $2 \
                 AND published_until > $2",
            )
            .bind(key.algorithm.as_str())
            .bind(now.0)
            .fetch_optional(&mut *tx)
            .await?;
            let from = if before.is_some() { signs_from } else { now };
            self.insert_key(&mut tx, key, from, now).await?;
        }
        sqlx::query("DELETE FROM signing_keys WHERE published_until <= $1")
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn insert_key(
        &self,
        tx: &mut crate::call::Tx<'_>,
        key: &NewSigningKey,
        signs_from: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_sealed, signs_from, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&key.kid)
        .bind(key.algorithm.as_str())
        .bind(&key.public_jwk)
        .bind(self.keys.seal(place(&key.kid), &key.pkcs8)?)
        .bind(signs_from.0)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// The public halves to publish, JSON Web Keys, the newest first.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn published_keys(&self) -> Result<Vec<String>> {
        let rows = sqlx::query(
            "SELECT public_jwk FROM signing_keys WHERE published_until IS NULL OR published_until > $1 \
             ORDER BY created_at DESC, kid",
        )
        .bind(Timestamp::now().0)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| row.text("public_jwk")).collect()
    }

    /// The keys that sign now, one of each algorithm, opened.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] if the key is not the one they were sealed with.
    pub async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>> {
        let rows = sqlx::query(
            "SELECT kid, algorithm, private_sealed FROM signing_keys WHERE signs_from <= $1 \
             AND (published_until IS NULL OR published_until > $1) ORDER BY signs_from DESC, created_at DESC",
        )
        .bind(Timestamp::now().0)
        .fetch_all(&self.reader)
        .await?;
        let mut found: Vec<StoredSigningKey> = Vec::new();
        for row in rows {
            let (kid, algorithm) = (row.text("kid")?, row.word("algorithm")?);
            if found.iter().all(|key| key.algorithm != algorithm) {
                let pkcs8 = self.keys.open(place(&kid), &row.text("private_sealed")?)?;
                found.push(StoredSigningKey {
                    kid,
                    algorithm,
                    pkcs8,
                });
            }
        }
        Ok(found)
    }
}

/// Makes changes of keys follow each other: a lock on a row that is always there.
async fn lock_keys(tx: &mut crate::call::Tx<'_>) -> Result<()> {
    sqlx::query("UPDATE counters SET value = value WHERE name = 'settle_seq'")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

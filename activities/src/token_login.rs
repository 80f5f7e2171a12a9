//! How a source is logged in to, as its client needs it: the row, the secret and the
//! keys that sign. And the keys themselves: making and changing them.

use std::sync::Arc;
use std::time::Duration;

use db::{Db, KeyOverlap, NewSigningKey, OpenLogin};
use model::{ClientMethod, SigningAlgorithm, SourceId};
use source::{KeyError, Login, Proof, Secret, SigningKey, TokenError};

/// How long others may keep our public keys: `Cache-Control` of the key set.
pub const JWKS_CACHE: Duration = Duration::from_secs(3600);
/// How long after it was made an assertion can be good: its five minutes, and clocks
/// that are five minutes apart.
const SIGNED: Duration = Duration::from_secs(600);

/// The login of a source.
pub(crate) async fn login(db: &Db, source: SourceId) -> Result<Login, TokenError> {
    let looked_up = |error: db::Error| {
        tracing::warn!(source.id = %source, "a login was not looked up: {error}");
        TokenError::Unavailable { retry_after: None }
    };
    let open = db.source_login(source).await.map_err(looked_up)?;
    let OpenLogin { login, secret } = open.ok_or(TokenError::Config {
        what: "it has no login: `chartlift source login` sets one",
    })?;
    let secret = || {
        secret.map(Secret::new).ok_or(TokenError::Config {
            what: "its client has no secret: `chartlift source login` sets one",
        })
    };
    let proof = match login.method {
        ClientMethod::Public => Proof::Public,
        ClientMethod::Basic => Proof::Basic(secret()?),
        ClientMethod::Post => Proof::Post(secret()?),
        ClientMethod::Signed => Proof::Signed {
            keys: signing_keys(db).await.map_err(looked_up)?,
            algorithm: login.algorithm,
        },
    };
    Ok(Login {
        client_id: login.client_id,
        token_url: login.token_url,
        scope: login.scope,
        proof,
    })
}

async fn signing_keys(db: &Db) -> db::Result<Vec<Arc<SigningKey>>> {
    let stored = db.signing_keys().await?;
    let keys = stored.iter().filter_map(|key| {
        let read = SigningKey::from_pkcs8(key.algorithm, &key.pkcs8);
        read.inspect_err(|error| tracing::error!(kid = key.kid, "{error}"))
            .ok()
    });
    Ok(keys.map(Arc::new).collect())
}

/// Why signing keys were not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The system has no randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Makes the first signing keys of a deployment; nothing where there are some.
///
/// # Errors
/// [`SigningKeyError`].
pub async fn first_signing_keys(db: &Db) -> Result<(), SigningKeyError> {
    let there = db.signing_keys().await?.len();
    if there < SigningAlgorithm::ALL.len() {
        db.add_first_signing_keys(&new_keys().await?).await?;
    }
    Ok(())
}

/// Puts new signing keys in the place of those there are: with an overlap, or, where
/// `at_once`, since somebody else may know the old ones.
///
/// # Errors
/// [`SigningKeyError`].
pub async fn rotate_signing_keys(db: &Db, at_once: bool) -> Result<(), SigningKeyError> {
    let overlap = (!at_once).then_some(KeyOverlap {
        cached: JWKS_CACHE,
        signed: SIGNED,
    });
    Ok(db.rotate_signing_keys(&new_keys().await?, overlap).await?)
}

/// One key of each algorithm. An RSA key takes tens of milliseconds of CPU.
async fn new_keys() -> Result<Vec<NewSigningKey>, SigningKeyError> {
    let make = || -> Result<Vec<NewSigningKey>, KeyError> {
        let keys = SigningAlgorithm::ALL.iter().map(|algorithm| {
            let key = SigningKey::generate(*algorithm)?;
            Ok(NewSigningKey {
                kid: key.kid().to_owned(),
                algorithm: *algorithm,
                public_jwk: key.public_jwk().to_owned(),
                pkcs8: key.pkcs8().to_vec(),
            })
        });
        keys.collect()
    };
    match tokio::task::spawn_blocking(make).await {
        Ok(made) => Ok(made?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

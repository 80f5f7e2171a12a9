//! How sources are logged in to. The secret is sealed.

use std::fmt;

use model::{ClientMethod, SigningAlgorithm, SourceId};
use seal::Place;
use serde::{Deserialize, Serialize};

use crate::row::{Columns, json};
use crate::{Db, Error, NewSource, Result, SourceChange};

/// How we are known where a source gives out tokens. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLogin {
    /// Our `client_id`.
    pub client_id: String,
    /// The token endpoint; none: the source's smart-configuration names it.
    #[serde(default)]
    pub token_url: Option<String>,
    /// What to ask for, of a source that is asked in our own name.
    #[serde(default)]
    pub scope: Option<String>,
    /// How we prove to be that client.
    pub method: ClientMethod,
    /// What to sign with; none: what the source says it can verify.
    #[serde(default)]
    pub algorithm: Option<SigningAlgorithm>,
}

/// A login with its secret. Not for logs.
#[derive(Clone)]
pub struct OpenLogin {
    /// What is not secret.
    pub login: SourceLogin,
    /// The client's secret, where the method has one.
    pub secret: Option<String>,
}

impl fmt::Debug for OpenLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.login.fmt(f)
    }
}

fn secret_place(source: &str) -> Place<'_> {
    Place {
        column: "sources.login_secret",
        row: source,
    }
}

impl Db {
    /// Adds a source that is logged in to.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its name or identity is taken.
    pub async fn add_source_with_login(
        &self,
        new: &NewSource,
        login: &OpenLogin,
    ) -> Result<SourceId> {
        let id = SourceId::new();
        let mut tx = self.writer.begin().await?;
        crate::sources::insert(&mut tx, id, new).await?;
        self.set_login(&mut tx, id, login).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// Replaces how a source is logged in to: [`Self::change_source`].
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_source_login(&self, id: SourceId, login: &OpenLogin) -> Result<()> {
        let change = SourceChange {
            login: Some(login),
            ..SourceChange::default()
        };
        self.change_source(id, change).await
    }

    pub(crate) async fn replace_login(
        &self,
        tx: &mut crate::call::Tx<'_>,
        id: SourceId,
        login: &OpenLogin,
    ) -> Result<()> {
        self.set_login(tx, id, login).await?;
        sqlx::query(
            "UPDATE tokens SET failures = 0, not_before = 0 WHERE subject_id = $1 \
             OR subject_id IN (SELECT id FROM connections WHERE source_id = $1)",
        )
        .bind(id.to_string())
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn set_login(
        &self,
        tx: &mut crate::call::Tx<'_>,
        id: SourceId,
        login: &OpenLogin,
    ) -> Result<()> {
        let row = id.to_string();
        let secret = login.secret.as_ref();
        let sealed = secret.map(|text| self.keys.seal(secret_place(&row), text.as_bytes()));
        sqlx::query("UPDATE sources SET login = $1, login_secret_sealed = $2 WHERE id = $3")
            .bind(json(&login.login))
            .bind(sealed.transpose()?)
            .bind(&row)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// How a source is logged in to, opened; none where it is not.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Sealed`] if the key is not the one it was sealed
    /// with.
    pub async fn source_login(&self, id: SourceId) -> Result<Option<OpenLogin>> {
        let id = id.to_string();
        let row = sqlx::query("SELECT login, login_secret_sealed FROM sources WHERE id = $1")
            .bind(&id)
            .fetch_optional(&self.reader)
            .await?;
        let row = row.ok_or_else(|| Error::NotFound {
            noun: "source",
            id: id.clone(),
        })?;
        let Some(login) = read_login(&row)? else {
            return Ok(None);
        };
        let sealed: Option<String> = row.raw("login_secret_sealed")?;
        let secret = sealed.map(|sealed| self.keys.open(secret_place(&id), &sealed));
        let secret = secret.transpose()?.map(String::from_utf8).transpose();
        let secret = secret.map_err(|_| crate::row::corrupt("login_secret_sealed"))?;
        Ok(Some(OpenLogin { login, secret }))
    }
}

/// The login in a row of `sources`.
pub(crate) fn read_login(row: &sqlx::any::AnyRow) -> Result<Option<SourceLogin>> {
    let text: Option<String> = row.raw("login")?;
    let login = text.map(|text| serde_json::from_str(&text)).transpose();
    login.map_err(|_| crate::row::corrupt("login"))
}

//! How sources are logged in to, and connections that begin with a grant: adding
//! both, and connecting again.

use std::fmt;

use model::{ClientMethod, ConnectionId, SigningAlgorithm, SourceId};
use seal::Place;
use serde::{Deserialize, Serialize};

use crate::row::{Columns, json};
use crate::tokens::{NewToken, forget_token};
use crate::type_watermarks::forget_changes;
use crate::{Db, Error, NewConnection, NewSource, Result, SourceAuth, SourceChange};

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

/// A login as somebody gives it. Not for logs.
#[derive(Clone, Default)]
pub struct GivenLogin {
    /// Our `client_id`.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Option<String>,
    /// The token endpoint.
    pub token_url: Option<String>,
    /// What to ask for.
    pub scope: Option<String>,
    /// How the client proves itself; what is usual where it is left out.
    pub method: Option<ClientMethod>,
    /// What to sign with.
    pub algorithm: Option<SigningAlgorithm>,
}

impl GivenLogin {
    /// The login of a source that is asked in this way.
    ///
    /// # Errors
    /// What does not fit together, for people; nothing of it is repeated.
    pub fn checked(self, auth: SourceAuth) -> std::result::Result<OpenLogin, &'static str> {
        let has_secret = self.client_secret.is_some();
        let usual = match auth {
            SourceAuth::None | SourceAuth::Bearer => {
                return Err("a source with the auth `none` or `bearer` has no login");
            }
            SourceAuth::BackendServices => ClientMethod::Signed,
            SourceAuth::ClientCredentials => ClientMethod::Basic,
            SourceAuth::Smart if has_secret => ClientMethod::Basic,
            SourceAuth::Smart => ClientMethod::Public,
        };
        let method = self.method.unwrap_or(usual);
        let takes_secret = matches!(method, ClientMethod::Basic | ClientMethod::Post);
        if auth == SourceAuth::BackendServices && method != ClientMethod::Signed {
            return Err("`backend_services` is asked with the method `private_key_jwt`");
        }
        if auth == SourceAuth::ClientCredentials && !takes_secret {
            return Err(
                "`client_credentials` is asked with the method `client_secret_basic` or `client_secret_post`",
            );
        }
        if takes_secret != has_secret {
            return Err(if takes_secret {
                "this method needs a client secret"
            } else {
                "this method takes no client secret"
            });
        }
        if self.algorithm.is_some() && method != ClientMethod::Signed {
            return Err("only the method `private_key_jwt` takes a signing algorithm");
        }
        Ok(OpenLogin {
            login: SourceLogin {
                client_id: self.client_id,
                token_url: self.token_url,
                scope: self.scope,
                method,
                algorithm: self.algorithm,
            },
            secret: self.client_secret,
        })
    }
}

/// Checks that a connection is made with what its source wants.
///
/// # Errors
/// What it wants instead, for people.
pub fn check_credentials(
    auth: SourceAuth,
    has_token: bool,
    grant: Option<&NewToken>,
) -> std::result::Result<(), &'static str> {
    match (auth, grant) {
        (SourceAuth::Smart, Some(_)) if has_token => {
            Err("a grant and a bearer token exclude each other")
        }
        (SourceAuth::Smart, Some(grant)) if grant.access.is_none() && grant.refresh.is_none() => {
            Err("a grant has an access token, a refresh token, or both")
        }
        (SourceAuth::Smart, Some(_)) => Ok(()),
        (SourceAuth::Smart, None) => Err("a connection to this source is made with a grant"),
        (_, Some(_)) => Err("only a source with the auth `smart` takes a grant"),
        (SourceAuth::ClientCredentials | SourceAuth::BackendServices, None) if has_token => {
            Err("this source gives tokens to us, not to patients: leave the token out")
        }
        _ => Ok(()),
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

    /// Adds a connection with the tokens of a patient's grant.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the patient is connected to the source already.
    pub async fn add_connection_with_grant(
        &self,
        new: &NewConnection,
        grant: &NewToken,
    ) -> Result<ConnectionId> {
        let id = ConnectionId::new();
        let mut tx = self.writer.begin().await?;
        self.insert_connection(&mut tx, id, new).await?;
        self.import_token(&mut tx, &id.to_string(), grant).await?;
        self.commit(tx, id).await?;
        Ok(id)
    }

    /// Connects a connection again, with a bearer token or the tokens of a grant. The
    /// patient is the same: its id at the source was fixed when it was first connected.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn reconnect(
        &self,
        id: ConnectionId,
        token: Option<&str>,
        grant: Option<&NewToken>,
    ) -> Result<()> {
        let row = id.to_string();
        let place = Place {
            column: "connections.token",
            row: &row,
        };
        let sealed = token.map(|token| self.keys.seal(place, token.as_bytes()));
        let mut tx = self.writer.begin().await?;
        let done = sqlx::query(
            "UPDATE connections SET token_sealed = $1, status = 'active', pull_failures = 0, pull_not_before = 0 \
             WHERE id = $2",
        )
        .bind(sealed.transpose()?)
        .bind(&row)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(Error::NotFound {
                noun: "connection",
                id: row,
            });
        }
        match grant {
            Some(grant) => self.import_token(&mut tx, &row, grant).await?,
            None => forget_token(&mut tx, &row).await?,
        }
        forget_changes(&mut tx, &row).await?;
        let body = serde_json::json!({});
        crate::settle::insert_event(&mut tx, "connection.reconnected", &row, &body).await?;
        self.commit(tx, id).await
    }

    /// What was granted, as the source wrote it; none where it has not said.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn granted_scope(&self, connection: ConnectionId) -> Result<Option<String>> {
        let row = sqlx::query(
            "SELECT tokens.scope AS scope FROM connections JOIN sources ON sources.id = connections.source_id \
             LEFT JOIN tokens ON tokens.subject_id = \
             CASE WHEN sources.auth = 'smart' THEN connections.id ELSE sources.id END WHERE connections.id = $1",
        )
        .bind(connection.to_string())
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.map(|row| row.raw("scope")).transpose()?.flatten())
    }
}

/// The login in a row of `sources`.
pub(crate) fn read_login(row: &sqlx::any::AnyRow) -> Result<Option<SourceLogin>> {
    let text: Option<String> = row.raw("login")?;
    let login = text.map(|text| serde_json::from_str(&text)).transpose();
    login.map_err(|_| crate::row::corrupt("login"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_refused() {
        use ClientMethod::{Basic, Post, Public, Signed};
        use SourceAuth::{BackendServices, Bearer, ClientCredentials, None as Open, Smart};
        let given = |auth, method, secret: bool| {
            let login = GivenLogin {
                client_id: "app".to_owned(),
                client_secret: secret.then(|| "hush".to_owned()),
                method,
                ..GivenLogin::default()
            };
            login.checked(auth).map(|open| open.login.method).ok()
        };
        assert_eq!(given(Smart, None, false), Some(Public));
        assert_eq!(given(Smart, None, true), Some(Basic));
        assert_eq!(given(Smart, Some(Post), true), Some(Post));
        assert_eq!(given(Smart, Some(Signed), false), Some(Signed));
        assert_eq!(given(ClientCredentials, None, true), Some(Basic));
        assert_eq!(given(BackendServices, None, false), Some(Signed));
        for (auth, method, secret) in [
            (Open, None, false),
            (Bearer, None, true),
            (Smart, Some(Post), false),
            (Smart, Some(Public), true),
            (ClientCredentials, None, false),
            (ClientCredentials, Some(Signed), false),
            (BackendServices, Some(Basic), true),
            (BackendServices, None, true),
        ] {
            assert_eq!(given(auth, method, secret), None, "{auth:?} {method:?}");
        }
        let signs = GivenLogin {
            algorithm: Some(SigningAlgorithm::Es384),
            ..GivenLogin::default()
        };
        assert!(signs.clone().checked(Smart).is_err());
        assert!(signs.checked(BackendServices).is_ok());
    }
}

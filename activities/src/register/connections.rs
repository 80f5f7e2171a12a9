//! Registering connections, with what their source wants.

use db::{Db, NewConnection, NewToken, SourceAuth};
use model::ConnectionId;
use source::Granted;

use super::Error;

/// What a connection is made with.
#[derive(Debug, Default)]
pub struct Credentials {
    /// A bearer token.
    pub token: Option<String>,
    /// The tokens of a patient's grant.
    pub grant: Option<NewToken>,
}

impl Credentials {
    /// Checks that they are those that a source wants.
    ///
    /// # Errors
    /// [`Error::Credentials`], which repeats nothing of them.
    pub fn check(&self, auth: SourceAuth) -> Result<(), Error> {
        db::check_credentials(auth, self.token.is_some(), self.grant.as_ref())
            .map_err(Error::Credentials)
    }
}

/// Adds a connection, and its patient if there is none of this external id.
///
/// # Errors
/// An unknown source, or a patient that is connected to it already.
pub async fn add_connection(
    db: &Db,
    external_id: &str,
    source: &str,
    source_patient_id: String,
    token: Option<String>,
) -> Result<ConnectionId, Error> {
    let credentials = Credentials { token, grant: None };
    add_connection_with(db, external_id, source, source_patient_id, credentials).await
}

/// As [`add_connection`], with what the source wants.
///
/// # Errors
/// As there, and for credentials that the source does not want.
pub async fn add_connection_with(
    db: &Db,
    external_id: &str,
    source: &str,
    source_patient_id: String,
    credentials: Credentials,
) -> Result<ConnectionId, Error> {
    let source = db.source(source).await?;
    credentials.check(source.auth)?;
    let new = NewConnection {
        patient_id: db.ensure_patient(external_id).await?,
        source_id: source.id,
        source_patient_id,
        token: credentials.token,
    };
    Ok(match &credentials.grant {
        Some(grant) => db.add_connection_with_grant(&new, grant).await?,
        None => db.add_connection(&new).await?,
    })
}

/// Reads the answer of a token endpoint that somebody else has asked.
///
/// # Errors
/// [`Error::Credentials`], which repeats nothing of it.
pub fn read_grant(answer: &[u8]) -> Result<NewToken, Error> {
    let granted = Granted::parse(answer).map_err(|_| {
        Error::Credentials(
            "the grant is no answer of a token endpoint: JSON with access_token, refresh_token, expires_in, scope",
        )
    })?;
    Ok(NewToken {
        access: Some(granted.access.expose().to_owned()),
        refresh: granted.refresh.map(|token| token.expose().to_owned()),
        scope: granted.scope,
        expires_in: granted.expires_in,
        after_refusal: false,
    })
}

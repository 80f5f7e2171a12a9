//! Registering sources, connections and destinations: what the command line and
//! later the API do before the database knows them.

use db::{Db, NewConnection, NewDestination, NewSource, SourceAuth};
use destination::FileDestination;
use guard::Guard;
use model::{ConnectionId, DestinationId, FileFormat, SourceId};
use url::Url;

/// Why something was not registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL's address is not to be connected to.
    #[error("the source cannot be added: {0}")]
    Address(#[source] guard::Refused),
    /// The base URL cannot be used.
    #[error("the source cannot be added: {0}")]
    Source(#[source] source::Error),
    /// The destination's folder cannot be used.
    #[error("the destination cannot be added: {0}")]
    Destination(#[source] destination::Error),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Adds a source; its identity is the normalised base URL from now on.
///
/// # Errors
/// A base URL that cannot be used or has an address that `guard` refuses, or a
/// name or identity that is taken.
pub async fn add_source(
    db: &Db,
    guard: &Guard,
    name: &str,
    base_url: &Url,
    auth: SourceAuth,
) -> Result<SourceId, Error> {
    source::SourceClient::new(
        base_url.clone(),
        source::Auth::None,
        source::Limits::default(),
        guard,
    )
    .map_err(Error::Source)?;
    guard.admit(base_url).await.map_err(Error::Address)?;
    let new = NewSource {
        name: name.to_owned(),
        base_url: base_url.to_string(),
        identity: source::identity(base_url),
        auth,
    };
    Ok(db.add_source(&new).await?)
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
    let source_id = db.source(source).await?.id;
    let patient_id = db.ensure_patient(external_id).await?;
    Ok(db
        .add_connection(&NewConnection {
            patient_id,
            source_id,
            source_patient_id,
            token,
        })
        .await?)
}

/// Adds a destination: probes its folder and puts its name on it first.
///
/// # Errors
/// A folder that cannot be used or is another destination's, or a name or
/// location that is taken.
pub async fn add_destination(
    db: &Db,
    name: &str,
    location: &str,
    format: FileFormat,
) -> Result<DestinationId, Error> {
    for taken in db.destinations().await? {
        if taken.name == name || taken.location == location {
            let what = format!(
                "there is a destination named `{}` at {} already",
                taken.name, taken.location
            );
            return Err(db::Error::Conflict { what }.into());
        }
    }
    let id = DestinationId::new();
    let files = FileDestination::open(location, id).map_err(Error::Destination)?;
    files.probe().await.map_err(Error::Destination)?;
    files.claim_owner().await.map_err(Error::Destination)?;
    let new = NewDestination {
        id,
        name: name.to_owned(),
        location: location.to_owned(),
        format,
    };
    db.add_destination(&new).await?;
    Ok(id)
}

//! Registering sources, connections and destinations: what the command line and
//! later the API do before the database knows them.

use db::{Db, NewConnection, NewDestination, NewSource, SourceAuth};
use destination::FileDestination;
use model::{ConnectionId, DestinationId, FileFormat, SourceId};
use url::Url;

/// Why something was not registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
/// A base URL that cannot be used, or a name or identity that is taken.
pub async fn add_source(
    db: &Db,
    name: &str,
    base_url: &Url,
    auth: SourceAuth,
) -> Result<SourceId, Error> {
    check_base_url(base_url)?;
    let new = NewSource {
        name: name.to_owned(),
        base_url: base_url.to_string(),
        identity: source::identity(base_url),
        auth,
    };
    Ok(db.add_source(&new).await?)
}

/// Checks that a source can begin at a URL.
///
/// # Errors
/// [`Error::Source`] if not.
pub fn check_base_url(base_url: &Url) -> Result<(), Error> {
    let (auth, limits) = (source::Auth::None, source::Limits::default());
    source::SourceClient::new(base_url.clone(), auth, limits).map_err(Error::Source)?;
    Ok(())
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
    db.destination_is_free(name, location).await?;
    let id = DestinationId::new();
    claim_destination(id, location).await?;
    let new = NewDestination {
        id,
        name: name.to_owned(),
        location: location.to_owned(),
        format,
    };
    db.add_destination(&new).await?;
    Ok(id)
}

/// Tries whether a destination can be written to, and puts its name on it.
///
/// # Errors
/// [`Error::Destination`] if it cannot be used, or is another destination's.
pub async fn claim_destination(id: DestinationId, location: &str) -> Result<(), Error> {
    let files = FileDestination::open(location, id).map_err(Error::Destination)?;
    files.probe().await.map_err(Error::Destination)?;
    files.claim_owner().await.map_err(Error::Destination)?;
    Ok(())
}

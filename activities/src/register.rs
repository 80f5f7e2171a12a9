//! Registering sources, connections and destinations: what the command line and
//! the API do before the database knows them.

use db::{Db, DestinationChange, NewConnection, NewDestination, NewSource, SourceAuth};
use guard::Guard;
use model::{ConnectionId, DestinationId, FileFormat, SourceId};
use objects::{Access, Location};
use url::Url;

use crate::Destinations;

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
    requests_per_second: Option<u32>,
) -> Result<SourceId, Error> {
    check_base_url(guard, base_url).await?;
    let new = NewSource {
        name: name.to_owned(),
        base_url: base_url.to_string(),
        identity: source::identity(base_url),
        auth,
        requests_per_second,
    };
    Ok(db.add_source(&new).await?)
}

/// Checks that a source can begin at a URL.
///
/// # Errors
/// [`Error::Source`] if not, [`Error::Address`] if `guard` refuses its address.
pub async fn check_base_url(guard: &Guard, base_url: &Url) -> Result<(), Error> {
    let (auth, limits) = (source::Auth::None, source::Limits::default());
    source::SourceClient::new(base_url.clone(), auth, limits, guard).map_err(Error::Source)?;
    guard.admit(base_url).await.map_err(Error::Address)
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

/// Adds a destination: probes its folder or object store and puts its name on it first.
///
/// # Errors
/// A folder or object store that cannot be used or is another destination's, or a name or
/// location that is taken.
pub async fn add_destination(
    db: &Db,
    guard: &Guard,
    name: &str,
    location: &str,
    format: FileFormat,
    access: Option<&Access>,
) -> Result<DestinationId, Error> {
    let location = check_destination(guard, location, access).await?;
    db.destination_is_free(name, &location).await?;
    let id = DestinationId::new();
    let files = Destinations::new(db.clone(), guard.clone())
        .open_new(id, &location, access)
        .map_err(Error::Destination)?;
    files.probe().await.map_err(Error::Destination)?;
    files.claim_owner().await.map_err(Error::Destination)?;
    let new = NewDestination {
        id,
        name: name.to_owned(),
        location,
        format,
        credentials: access.map(text_of),
        awaits_test: false,
    };
    db.add_destination(&new).await?;
    Ok(id)
}

/// Checks that there can be a destination at a location, without reaching for it.
/// Returns the form in which the location is kept, so that one is not taken twice.
///
/// # Errors
/// [`Error::Destination`] for a location that cannot be one, or a key that is missing
/// or does not fit; [`Error::Address`] if `guard` refuses the store's address.
pub async fn check_destination(
    guard: &Guard,
    location: &str,
    access: Option<&Access>,
) -> Result<String, Error> {
    destination::check_location(location, access).map_err(Error::Destination)?;
    if let Some(endpoint) = access.and_then(Access::endpoint) {
        let url = Url::parse(endpoint).map_err(|_| {
            Error::Destination(destination::Error::Credentials {
                what: "the endpoint is not a URL".to_owned(),
            })
        })?;
        guard.admit(&url).await.map_err(Error::Address)?;
    }
    normalised(location)
}

/// Replaces the key to a destination's object store, if the destination can be
/// read with it.
///
/// # Errors
/// A destination that is a folder, or a key that it does not accept.
pub async fn set_credentials(
    db: &Db,
    guard: &Guard,
    name: &str,
    access: &Access,
) -> Result<(), Error> {
    let row = db.destination(name).await?;
    let destinations = Destinations::new(db.clone(), guard.clone());
    let files = destinations
        .open_new(row.id, &row.location, Some(access))
        .map_err(Error::Destination)?;
    files.check().await.map_err(Error::Destination)?;
    let text = text_of(access);
    let change = DestinationChange {
        credentials: Some(&text),
        ..DestinationChange::default()
    };
    Ok(db.change_destination(row.id, change).await?)
}

/// The form in which a location is kept.
fn normalised(location: &str) -> Result<String, Error> {
    if !objects::is_s3(location) {
        return Ok(location.to_owned());
    }
    let place = Location::parse(location).map_err(|error| {
        Error::Destination(destination::Error::Unsupported {
            location: "s3://…".to_owned(),
            reason: error.reason,
        })
    })?;
    Ok(place.normalised())
}

/// An access as it is sealed.
fn text_of(access: &Access) -> String {
    String::from_utf8(access.to_json()).expect("JSON is UTF-8")
}

//! Registering destinations: their place is probed, and bears our name, before the
//! database knows them.

use db::{Db, DestinationChange, NewDestination};
use guard::Guard;
use model::{DestinationId, FileFormat};
use objects::{Access, Location};
use url::Url;

use super::Error;
use crate::Destinations;

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

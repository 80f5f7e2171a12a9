//! Registering sources, connections and destinations: what the command line and
//! the API do before the database knows them.

use db::{
    Db, DestinationChange, GivenLogin, NewConnection, NewDestination, NewSource, NewToken,
    OpenLogin, SourceAuth, SourceLimits,
};
use guard::Guard;
use model::{AttachmentPolicy, ConnectionId, DestinationId, FileFormat, SourceId, Strategy};
use objects::{Access, Location};
use source::Granted;
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
    /// The source cannot be logged in to like that.
    #[error("the source cannot be logged in to like that: {0}")]
    Login(String),
    /// A connection to this source needs something else.
    #[error("{0}")]
    Credentials(&'static str),
    /// The destination's folder cannot be used.
    #[error("the destination cannot be added: {0}")]
    Destination(#[source] destination::Error),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// A source to register.
#[derive(Debug)]
pub struct SourceToAdd<'a> {
    /// A name for people.
    pub name: &'a str,
    /// Where its FHIR API begins.
    pub base_url: &'a Url,
    /// How it wants to be asked.
    pub auth: SourceAuth,
    /// What it is to bear.
    pub limits: SourceLimits,
    /// How it is asked for a record.
    pub strategy: Strategy,
    /// What is done about attachments.
    pub attachments: AttachmentPolicy,
}

impl<'a> SourceToAdd<'a> {
    /// A source that is asked without a login, by searches, as often as workers like.
    #[must_use]
    pub fn new(name: &'a str, base_url: &'a Url) -> Self {
        Self {
            name,
            base_url,
            auth: SourceAuth::None,
            limits: SourceLimits::default(),
            strategy: Strategy::default(),
            attachments: AttachmentPolicy::default(),
        }
    }

    fn new_source(&self) -> NewSource {
        let identity = source::identity(self.base_url);
        NewSource {
            auth: self.auth,
            limits: self.limits,
            strategy: self.strategy,
            attachments: self.attachments,
            ..NewSource::new(self.name, self.base_url.as_str(), &identity)
        }
    }
}

/// Adds a source that needs no login and is asked by searches.
///
/// # Errors
/// As [`add_source_without_login`].
pub async fn add_source(
    db: &Db,
    guard: &Guard,
    name: &str,
    base_url: &Url,
    auth: SourceAuth,
    limits: SourceLimits,
) -> Result<SourceId, Error> {
    let new = SourceToAdd {
        auth,
        limits,
        ..SourceToAdd::new(name, base_url)
    };
    add_source_without_login(db, guard, &new).await
}

/// Adds a source that needs no login; its identity is the normalised base URL from
/// now on.
///
/// # Errors
/// A base URL that cannot be used or has an address that `guard` refuses, a name or
/// identity that is taken, or a way to authenticate that needs a login.
pub async fn add_source_without_login(
    db: &Db,
    guard: &Guard,
    new: &SourceToAdd<'_>,
) -> Result<SourceId, Error> {
    if new.auth.has_login() {
        let what = "its clients are known by a `client_id`: give one";
        return Err(Error::Login(what.to_owned()));
    }
    check_base_url(guard, new.base_url).await?;
    Ok(db.add_source(&new.new_source()).await?)
}

/// Adds a source that is logged in to.
///
/// # Errors
/// As for [`add_source_without_login`], and for a login that cannot work.
pub async fn add_source_with_login(
    db: &Db,
    guard: &Guard,
    new: &SourceToAdd<'_>,
    login: GivenLogin,
) -> Result<SourceId, Error> {
    check_base_url(guard, new.base_url).await?;
    let login = check_login(guard, new.base_url, new.auth, login).await?;
    Ok(db.add_source_with_login(&new.new_source(), &login).await?)
}

/// Replaces how a source is logged in to.
///
/// # Errors
/// An unknown source, or a login that cannot work.
pub async fn set_login(
    db: &Db,
    guard: &Guard,
    source: &str,
    login: GivenLogin,
) -> Result<(), Error> {
    let source = db.source(source).await?;
    let base_url = Url::parse(&source.base_url)
        .map_err(|_| Error::Login("the base URL cannot be read".to_owned()))?;
    let login = check_login(guard, &base_url, source.auth, login).await?;
    Ok(db.set_source_login(source.id, &login).await?)
}

async fn check_login(
    guard: &Guard,
    base_url: &Url,
    auth: SourceAuth,
    login: GivenLogin,
) -> Result<OpenLogin, Error> {
    if let Some(token_url) = &login.token_url {
        check_token_url(guard, base_url, token_url).await?;
    }
    let checked = login.checked(auth);
    checked.map_err(|what| Error::Login(what.to_owned()))
}

/// Checks that the token endpoint of a source can be at a URL.
///
/// # Errors
/// [`Error::Login`] if not, [`Error::Address`] if `guard` refuses its address.
pub async fn check_token_url(guard: &Guard, base_url: &Url, token_url: &str) -> Result<(), Error> {
    let url = source::check_token_url(base_url, token_url);
    let url = url.map_err(|error| Error::Login(error.to_string()))?;
    guard.admit(&url).await.map_err(Error::Address)
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

//! Registering sources: what they are and how they are logged in to, checked before.

use db::{Db, GivenLogin, NewSource, OpenLogin, SourceAuth, SourceLimits};
use guard::Guard;
use model::{AttachmentPolicy, SourceId, Strategy};
use url::Url;

use super::Error;

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

//! What is checked before something is registered, by rooms that the API does not
//! know itself.

use futures::future::BoxFuture;

/// Why something cannot be registered, in words for people: what is wrong and what
/// to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be used.
    Unusable(String),
    /// Its address is not to be connected to.
    AddressRefused(String),
}

/// A source's base URL as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBase {
    /// Where the FHIR API begins.
    pub base_url: String,
    /// Its normalised form, frozen when the source is added.
    pub identity: String,
}

/// The checks.
pub trait Checks: Send + Sync {
    /// Checks a source's base URL.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn base_url<'a>(&'a self, base_url: &'a str) -> BoxFuture<'a, Result<CheckedBase, Reason>>;

    /// Checks the URL of a token endpoint of the source at `base_url`.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn token_url<'a>(
        &'a self,
        base_url: &'a str,
        token_url: &'a str,
    ) -> BoxFuture<'a, Result<(), Reason>>;

    /// Checks that there can be a destination at a location, without reaching for it,
    /// and gives the form in which the location is stored. `credentials` are those of
    /// an object store, as JSON.
    ///
    /// # Errors
    /// Why there cannot; never the credentials.
    fn destination<'a>(
        &'a self,
        location: &'a str,
        credentials: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, Reason>>;
}

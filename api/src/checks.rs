//! What is checked before something is registered, by rooms that the API does not
//! know itself.

use futures::future::BoxFuture;
use model::DestinationId;

/// Why something cannot be registered, for people: what is wrong and what to do.
pub type Reason = String;

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

    /// The form in which a destination's location is stored.
    ///
    /// # Errors
    /// Why it cannot be one.
    fn location(&self, location: &str) -> Result<String, Reason>;

    /// Checks that a destination can be written to, and puts its name on it.
    /// `credentials` are those of an object store, as JSON.
    ///
    /// # Errors
    /// Why it cannot be used; never the credentials.
    fn destination<'a>(
        &'a self,
        id: DestinationId,
        location: &'a str,
        credentials: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), Reason>>;
}

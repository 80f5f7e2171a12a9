//! Tokens: where a source gives them out, how we prove who we are, and what its
//! answers mean.
//!
//! Owns one request to a token endpoint ([`TokenClient::ask`]) and the keys that
//! sign for us ([`SigningKey`]). When to ask, who of all workers asks, and where
//! tokens are kept is the caller's ([`TokenSource`]).
//! Invariant: no token, secret or key is in an error, a log event or `Debug`;
//! neither is a word that the token endpoint chose.

mod answer;
mod assertion;
mod discovery;
mod endpoint;
mod key;
mod login;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use url::Url;

use crate::request::Secret;

pub use answer::Granted;
pub use endpoint::{TokenClient, TokenLimits};
pub use key::{KeyError, SigningKey};
pub use login::{Grant, Login, Proof};

/// An access token, and which one in the row of its subject it is.
#[derive(Debug, Clone)]
pub struct Token {
    /// What is sent.
    pub secret: Secret,
    /// Counts the tokens of its subject.
    pub version: u64,
}

/// A future of a token, or of something about it.
pub type TokenFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, NoToken>> + Send + 'a>>;

/// Where a [`crate::SourceClient`] has its tokens from.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token to send now.
    fn token(&self) -> TokenFuture<'_, Token>;

    /// Another token, since the source has answered `refused` with 401; none where
    /// that would not help.
    fn renewed<'a>(&'a self, refused: &'a Token) -> TokenFuture<'a, Option<Token>>;
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoToken {
    /// Not now: to be asked for again after so long.
    Later(Duration),
    /// The grant is over: the patient has to connect again.
    Lost,
    /// The source does not accept this client; somebody has to see to its settings.
    Refused,
    /// The token endpoint's address is not to be connected to.
    AddressRefused(guard::Refused),
    /// What is needed for asking could not be looked up.
    Unavailable,
}

/// Checks that the token endpoint of the source at `base_url` can be at a URL.
///
/// # Errors
/// [`TokenError::Config`].
pub fn check_token_url(base_url: &Url, token_url: &str) -> Result<Url, TokenError> {
    Ok(discovery::Endpoint::configured(token_url, base_url)?.url)
}

/// What came of asking a token endpoint, if not tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Final for this grant: it is used up, expired or taken back.
    #[error("the token endpoint says that the grant is over")]
    InvalidGrant,
    /// Final until somebody changes the settings here or there.
    #[error("the token endpoint refuses this client: {what}")]
    Refused {
        /// One of the error codes of RFC 6749.
        what: &'static str,
    },
    /// An outage: worth asking again, and no word about the grant.
    #[error("the token endpoint cannot be reached or failed")]
    Unavailable {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that cannot be used: treated as an outage.
    #[error("the token endpoint gave an answer that cannot be used: {what}")]
    Protocol {
        /// What is wrong, in fixed words.
        what: &'static str,
    },
    /// Final until the operator allows it.
    #[error("the token endpoint is not asked: {0}")]
    AddressRefused(guard::Refused),
    /// Final: the settings cannot work.
    #[error("the source cannot be logged in to: {what}")]
    Config {
        /// What is wrong, in fixed words.
        what: &'static str,
    },
}

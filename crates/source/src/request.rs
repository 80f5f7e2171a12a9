//! How a source is asked: credentials and limits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::TokenSource;

/// A secret text. `Debug` shows that there is one, and nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent or sealed and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How requests are authorised.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Not at all: an open server.
    None,
    /// With a bearer token.
    Bearer(Secret),
    /// With tokens that are renewed: a request that is refused with 401 is made again
    /// once, with another token.
    Tokens(Arc<dyn TokenSource>),
}

/// When requests may be sent: a rate that others share.
pub trait Pace: fmt::Debug + Send + Sync {
    /// Returns when it is the caller's turn; redirects of a request need no further
    /// one. Dropped before, the turn is lost.
    fn turn(&self) -> Pin<Box<dyn Future<Output = Result<(), NoTurn>> + Send + '_>>;

    /// A request was answered.
    fn answered(&self, answered: Answered) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Why it is not the caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTurn {
    /// The rate could not be asked.
    Unknown,
    /// The next turn is too far off to be waited for here.
    Later {
        /// How far.
        after: Duration,
        /// The source itself wants to be left alone until then.
        is_held: bool,
    },
}

/// How a request was answered, as far as it says what the source bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// From sending it to the end of the answer.
    pub took: Duration,
    /// With 429 or 503, and how long the source wants to be left alone, where it says so.
    pub throttled: Option<Option<Duration>>,
}

/// Bounds on every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `_count` of a search. Servers cap it or ignore it.
    pub page_size: u32,
    /// The largest answer, after decompression: 320 KiB a resource in a page of
    /// 200, and a bound on the memory of a hostile answer.
    pub body_bytes_max: usize,
    /// For a connection, with its TLS.
    pub connect_timeout: Duration,
    /// Without a byte: before the headers, and between parts of the body.
    pub idle_timeout: Duration,
    /// For a whole request, so that a source that drips bytes cannot outlast the
    /// step that waits for it.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page_size: 200,
            body_bytes_max: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(300),
        }
    }
}

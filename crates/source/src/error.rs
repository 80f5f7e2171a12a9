//! What can go wrong at a source, one variant for each thing the caller does
//! about it.
//!
//! Invariant: texts are the source's host, a status and fixed words. A URL, a
//! body or an id in them would reach logs and Temporal's history (I9).

use std::sync::Arc;
use std::time::Duration;

use crate::said::Said;

/// The host, and the port where it is not the scheme's, that an error names.
pub type Host = Arc<str>;

/// A failed request to a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Get a new token, then ask again once.
    #[error(
        "{host} answered {status}: it does not accept the credentials; connect the source again if this stays"
    )]
    Unauthorized {
        /// The source.
        host: Host,
        /// 401.
        status: u16,
    },
    /// This type is not to be had from this source; the others are unharmed.
    #[error("{host} answered {status}: it refuses this request; check the granted scopes")]
    Refused {
        /// The source.
        host: Host,
        /// A status of 400 to 499, or 501.
        status: u16,
        /// What it says it wants instead.
        said: Box<Said>,
    },
    /// Ask again a few times, then differently: the FHIR server itself says that it
    /// failed at this request.
    #[error("{host} answered {status}: it fails at this request")]
    Failed {
        /// The source.
        host: Host,
        /// 500.
        status: u16,
        /// What it says it wants instead.
        said: Box<Said>,
    },
    /// Wait, then ask again.
    #[error("{host} answered {status}: it asks to be left alone for a while")]
    Throttled {
        /// The source.
        host: Host,
        /// 429 or 503.
        status: u16,
        /// How long it said, cut to one hour.
        retry_after: Option<Duration>,
    },
    /// Begin the stream again at its first page.
    #[error("{host} answered {status}: it has forgotten where the search stood")]
    CursorExpired {
        /// The source.
        host: Host,
        /// 410, 404 or 400.
        status: u16,
    },
    /// Ask again later, a few times.
    #[error("{host} cannot be reached or failed{}{}", status_text(*status), if *timeout { ": no answer in time" } else { "" })]
    Unavailable {
        /// The source.
        host: Host,
        /// Its answer, where there was one.
        status: Option<u16>,
        /// Whether time ran out.
        timeout: bool,
        /// What the connection said, without its URL.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// An answer that is not FHIR: never the same as no results.
    #[error("{host} gave an answer that cannot be used: {what}")]
    Protocol {
        /// The source.
        host: Host,
        /// What is wrong, in fixed words.
        what: &'static str,
    },
    /// Final: a link or redirect away from the configured origin.
    #[error("{host} points to another server; credentials are never sent there")]
    ForeignLink {
        /// The source.
        host: Host,
    },
    /// Final until the operator allows it: the source's address is not to be
    /// connected to. Nothing was sent.
    #[error("{host} is not asked: {refused}")]
    AddressRefused {
        /// The source.
        host: Host,
        /// What to do.
        refused: guard::Refused,
    },
    /// An answer larger than the limit; a smaller page may fit.
    #[error("{host} gave an answer of more than {limit} bytes")]
    TooLarge {
        /// The source.
        host: Host,
        /// The limit in bytes, after decompression.
        limit: usize,
    },
    /// Ask again later: the rate that all workers share, or the token, could not be
    /// looked up.
    #[error("the source was not asked: its rate or its token could not be looked up")]
    NoTurn,
    /// Ask again later: all workers together ask it as often as it bears.
    #[error("{host} was not asked: {}", if *is_held { "it wants to be left alone" } else { "its rate is used up" })]
    NotYet {
        /// The source.
        host: Host,
        /// How long until its next turn.
        after: Duration,
        /// The source itself wants to be left alone until then.
        is_held: bool,
    },
    /// Ask again later: there is no token to ask with.
    #[error("{host} was not asked: its token endpoint gives no token now")]
    NoToken {
        /// The source.
        host: Host,
        /// How long until there may be one.
        after: Duration,
    },
    /// Final until the patient connects again.
    #[error("{host} no longer honours the patient's grant: connect the patient again")]
    GrantLost {
        /// The source.
        host: Host,
    },
    /// Final until somebody sees to how this source is logged in to.
    #[error("{host} does not accept this client: correct the source's login")]
    LoginRefused {
        /// The source.
        host: Host,
    },
    /// Final: the source's settings cannot work.
    #[error("the source cannot be used: {what}")]
    Config {
        /// What is wrong, in fixed words.
        what: &'static str,
    },
}

fn status_text(status: Option<u16>) -> String {
    status
        .map(|status| format!(": status {status}"))
        .unwrap_or_default()
}

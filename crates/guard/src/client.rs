//! The HTTP client: bounds that every request has, and the check that the
//! resolver cannot make.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Request, Response};
use url::Url;

use crate::{Guard, Refused};

/// Bounds on every request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// For a connection, with its TLS.
    pub connect_timeout: Duration,
    /// Without a byte: before the headers, and between parts of the body.
    pub idle_timeout: Duration,
    /// For a whole request with its answer.
    pub request_timeout: Duration,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// Whether `http://` is refused.
    pub https_only: bool,
    /// Whether compressed answers are asked for, and decompressed.
    pub decompress: bool,
}

/// Which redirects are followed. One to another origin never is: its answer is
/// handed to the caller as it is, so no credential can go along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Redirects {
    /// None.
    #[default]
    None,
    /// So many in a row, within scheme, host and port of the first request.
    SameOrigin(usize),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is refused: nothing was sent.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request failed; the URL is left out of the text.
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    /// The TLS client cannot be set up on this machine.
    #[error("the TLS client cannot be set up on this machine")]
    Setup(#[source] reqwest::Error),
}

impl From<reqwest::Error> for Error {
    /// Finds a refusal of the resolver again among the causes of a failed
    /// connection.
    fn from(error: reqwest::Error) -> Self {
        if Refused::is_in(&error) {
            Self::Refused(Refused)
        } else {
            Self::Http(error.without_url())
        }
    }
}

/// Sends requests through a guard. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    guard: Guard,
}

impl Guard {
    /// A client whose every connection this guard has let through.
    ///
    /// # Errors
    /// [`Error::Setup`].
    pub fn client(&self, bounds: &Bounds) -> Result<Client, Error> {
        let http = reqwest::Client::builder()
            .dns_resolver(self.clone())
            .no_proxy()
            .redirect(policy(self.clone(), bounds.redirects))
            .referer(false)
            .https_only(bounds.https_only)
            .gzip(bounds.decompress)
            .user_agent(concat!("chartlift/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(bounds.connect_timeout)
            .read_timeout(bounds.idle_timeout)
            .timeout(bounds.request_timeout)
            .build()
            .map_err(Error::Setup)?;
        Ok(Client {
            http,
            guard: self.clone(),
        })
    }
}

impl Client {
    /// A GET of `url`, to be completed and given to [`Client::send`].
    pub fn get(&self, url: Url) -> reqwest::RequestBuilder {
        self.http.get(url)
    }

    /// A POST to `url`, to be completed and given to [`Client::send`].
    pub fn post(&self, url: Url) -> reqwest::RequestBuilder {
        self.http.post(url)
    }

    /// A DELETE of `url`, to be completed and given to [`Client::send`].
    pub fn delete(&self, url: Url) -> reqwest::RequestBuilder {
        self.http.delete(url)
    }

    /// Sends a request, whatever client made it.
    ///
    /// # Errors
    /// [`Error::Refused`] before anything is sent, or what the connection says.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.guard.check_literal(request.url())?;
        Ok(self.http.execute(request).await?)
    }
}

fn policy(guard: Guard, redirects: Redirects) -> Policy {
    let Redirects::SameOrigin(count_max) = redirects else {
        return Policy::none();
    };
    Policy::custom(move |attempt| {
        let first = attempt.previous().first();
        let is_within = first.is_some_and(|first| first.origin() == attempt.url().origin());
        if !is_within || attempt.previous().len() > count_max {
            attempt.stop()
        } else if let Err(refused) = guard.check_literal(attempt.url()) {
            attempt.error(refused)
        } else {
            attempt.follow()
        }
    })
}

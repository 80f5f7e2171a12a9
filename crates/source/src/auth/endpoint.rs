//! One request to a token endpoint: where it is, what its clock says, what its answer
//! means.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use guard::{Bounds, Client, Guard, Redirects};
use model::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use tokio::sync::Mutex;
use url::Url;

use super::TokenError;
use super::answer::{Granted, refusal};
use super::discovery::Endpoint;
use super::login::{Grant, Login, Proof, form};
use crate::base::Base;
use crate::error::Error;
use crate::header;

/// A token response is a few kilobytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a discovered endpoint is taken for the one.
const DISCOVERY_LIFE: Duration = Duration::from_secs(3600);
/// Clocks that are closer together are taken for equal: `Date` has whole seconds,
/// and a request takes its time.
const SKEW_MIN_S: i64 = 5;

/// Bounds on every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimits {
    /// For a connection, with its TLS.
    pub connect_timeout: Duration,
    /// For a whole request. A lease on asking has to be longer.
    pub request_timeout: Duration,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }
}

/// Asks for tokens of one source.
pub struct TokenClient {
    http: Client,
    base: Base,
    base_url: Url,
    known: Mutex<Option<(Instant, Endpoint)>>,
    /// By how much the endpoint's clock is ahead of ours.
    skew_s: AtomicI64,
}

/// An answer that was read whole.
struct Answer {
    status: u16,
    body: Bytes,
    retry_after: Option<Duration>,
    skew_s: Option<i64>,
}

impl TokenClient {
    /// A client for the source at `base_url`. Reaches for nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(base_url: Url, limits: TokenLimits, guard: &Guard) -> Result<Self, Error> {
        let bounds = Bounds {
            connect_timeout: limits.connect_timeout,
            idle_timeout: limits.request_timeout,
            request_timeout: limits.request_timeout,
            // What is posted is not posted anywhere else.
            redirects: Redirects::None,
            https_only: false,
            decompress: true,
        };
        let http = guard.client(&bounds).map_err(|_| Error::Config {
            what: "its TLS client cannot be set up on this machine",
        })?;
        Ok(Self {
            http,
            base: Base::new(&base_url)?,
            base_url,
            known: Mutex::default(),
            skew_s: AtomicI64::new(0),
        })
    }

    /// Asks for tokens: one request, and a second one only where our clock was
    /// wrong, or where the endpoint is not known yet.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn ask(&self, login: &Login, grant: &Grant) -> Result<Granted, TokenError> {
        let endpoint = self.endpoint(login.token_url.as_deref()).await?;
        let skew_s = self.skew_s.load(Ordering::Relaxed);
        let mut answer = self.post(&endpoint, login, grant, skew_s).await?;
        let learnt = answer.skew_s.unwrap_or(skew_s);
        self.skew_s.store(learnt, Ordering::Relaxed);
        let is_signed = matches!(login.proof, Proof::Signed { .. });
        if is_signed && matches!(answer.status, 400 | 401) && learnt != skew_s {
            // It was refused by a clock that is not ours.
            answer = self.post(&endpoint, login, grant, learnt).await?;
        }
        let is_refresh = matches!(grant, Grant::Refresh(_));
        match answer.status {
            200..=299 => Granted::parse(&answer.body),
            408 | 425 | 429 => Err(TokenError::Unavailable {
                retry_after: answer.retry_after,
            }),
            400..=499 => Err(refusal(answer.status, &answer.body, is_refresh)),
            300..=399 => Err(TokenError::Protocol { what: "a redirect" }),
            _ => Err(TokenError::Unavailable {
                retry_after: answer.retry_after,
            }),
        }
    }

    async fn endpoint(&self, configured: Option<&str>) -> Result<Endpoint, TokenError> {
        if let Some(text) = configured {
            return Endpoint::configured(text, &self.base_url);
        }
        let mut known = self.known.lock().await;
        if let Some((at, endpoint)) = &*known
            && at.elapsed() < DISCOVERY_LIFE
        {
            return Ok(endpoint.clone());
        }
        let url = self.base.join(".well-known/smart-configuration");
        let url = Url::parse(&url).map_err(|_| TokenError::Config {
            what: "its base URL cannot be read",
        })?;
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let answer = self.send(request).await?;
        match answer.status {
            200..=299 => {}
            400..=499 if !matches!(answer.status, 408 | 425 | 429) => {
                return Err(TokenError::Config {
                    what: "it has no smart-configuration; give the URL of its token endpoint",
                });
            }
            _ => {
                return Err(TokenError::Unavailable {
                    retry_after: answer.retry_after,
                });
            }
        }
        let endpoint = Endpoint::discovered(&answer.body, &self.base_url)?;
        *known = Some((Instant::now(), endpoint.clone()));
        Ok(endpoint)
    }

    async fn post(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        grant: &Grant,
        skew_s: i64,
    ) -> Result<Answer, TokenError> {
        let (body, header) = form(endpoint, login, grant, skew_s)?;
        let mut request = self
            .http
            .post(endpoint.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, TokenError> {
        let failed = TokenError::Unavailable { retry_after: None };
        let started = Instant::now();
        let request = request.build().map_err(|_| failed.clone())?;
        let response = match self.http.send(request).await {
            Ok(response) => response,
            Err(guard::Error::Refused(refused)) => {
                return Err(TokenError::AddressRefused(refused));
            }
            Err(_) => return Err(failed),
        };
        let status = response.status().as_u16();
        let headers = response.headers();
        let now_us = Timestamp::now().0;
        let skew_s = header::served_at(headers).map(|at| (at.0 - now_us) / 1_000_000);
        let skew_s = skew_s.map(|skew| if skew.abs() < SKEW_MIN_S { 0 } else { skew });
        let retry_after = header::retry_after(headers);
        let body = guard::whole(response, BODY_BYTES_MAX)
            .await
            .map_err(|error| match error {
                guard::BodyError::TooLarge { .. } => TokenError::Protocol {
                    what: "it is too large",
                },
                guard::BodyError::Http(_) => failed,
            })?;
        tracing::debug!(
            status,
            duration_ms = started.elapsed().as_millis() as u64,
            "token endpoint answered"
        );
        Ok(Answer {
            status,
            body,
            retry_after,
            skew_s,
        })
    }
}

impl fmt::Debug for TokenClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("host", &self.base.host)
            .finish_non_exhaustive()
    }
}

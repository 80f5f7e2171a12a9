//! One request and its answer: credentials, and the statuses that mean the same
//! whatever was asked. Where to, how long and how much is the guard's.
//!
//! Invariant: the credential leaves for the configured origin only; redirects
//! elsewhere are not followed.

mod credentials;
mod errors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use guard::{BodyError, Bounds, Client, Guard, Redirects};
use model::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, HeaderValue, LOCATION};
use reqwest::{RequestBuilder, Response};
use url::Url;

use self::credentials::{Credentials, credentials};
use crate::base::Base;
use crate::error::Error;
use crate::header;
use crate::request::{Answered, Auth, Limits, Pace};
use crate::said::Said;

/// Redirects followed within the origin.
const REDIRECTS_MAX: usize = 5;

/// An answer that came through.
pub(crate) enum Answer {
    /// The whole body, the URL it came from, and the source's clock.
    Body {
        body: Bytes,
        url: Url,
        served_at: Option<Timestamp>,
    },
    /// A status of 400 to 499, or 501: the request decides what it means.
    Refused(u16, Box<Said>),
}

/// So much of a refusal is read for what it says; of a longer one, nothing.
const SAID_BYTES_MAX: usize = 64 << 10;

/// Sends requests to one source. Clones share connections.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client,
    base: Arc<Base>,
    credentials: Credentials,
    pace: Option<Arc<dyn Pace>>,
    pub(crate) limits: Limits,
}

impl Transport {
    pub(crate) fn new(
        base: Arc<Base>,
        auth: &Auth,
        limits: Limits,
        guard: &Guard,
    ) -> Result<Self, Error> {
        let bounds = Bounds {
            connect_timeout: limits.connect_timeout,
            idle_timeout: limits.idle_timeout,
            request_timeout: limits.request_timeout,
            redirects: Redirects::SameOrigin(REDIRECTS_MAX),
            https_only: false,
            decompress: true,
        };
        let http = guard.client(&bounds).map_err(|_| Error::Config {
            what: "its TLS client cannot be set up on this machine",
        })?;
        Ok(Self {
            http,
            base,
            credentials: credentials(auth)?,
            pace: None,
            limits,
        })
    }

    pub(crate) fn with_auth(&self, auth: &Auth) -> Result<Self, Error> {
        Ok(Self {
            credentials: credentials(auth)?,
            ..self.clone()
        })
    }

    pub(crate) fn with_pace(&self, pace: Arc<dyn Pace>) -> Self {
        Self {
            pace: Some(pace),
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, url: Url) -> Result<Answer, Error> {
        self.with_credentials(|credentials| self.ask(url.clone(), credentials))
            .await
    }

    /// The client whose redirects stay within the origin.
    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// Sends a request of `client`'s in its turn, whatever is answered.
    pub(crate) async fn send(
        &self,
        client: &Client,
        request: RequestBuilder,
        credentials: Option<HeaderValue>,
    ) -> Result<Response, Error> {
        if let Some(pace) = &self.pace {
            pace.turn().await.map_err(|why| self.no_turn(why))?;
        }
        let request = match credentials {
            Some(credentials) => request.header(AUTHORIZATION, credentials),
            None => request,
        };
        let request = request
            .build()
            .map_err(|error| self.unavailable(None, Some(error)))?;
        client
            .send(request)
            .await
            .map_err(|error| self.unsent(error))
    }

    /// Sends a request; its answer where that is a 2xx, with its body unread.
    pub(crate) async fn exchange(
        &self,
        request: RequestBuilder,
        credentials: Option<HeaderValue>,
    ) -> Result<Response, Error> {
        let response = self.send(&self.http, request, credentials).await?;
        let status = response.status().as_u16();
        if (200..=299).contains(&status) {
            return Ok(response);
        }
        match self.answer(response, status).await? {
            Answer::Refused(status, said) => Err(Error::Refused {
                host: Arc::clone(&self.base.host),
                status,
                said,
            }),
            Answer::Body { .. } => Err(self.base.protocol("an answer without a status")),
        }
    }

    async fn ask(&self, url: Url, credentials: Option<HeaderValue>) -> Result<Answer, Error> {
        let started = Instant::now();
        // HAPI answers a search that it was asked a minute ago with what it found then,
        // without what is new, and caches on the way would do as much.
        let request = self
            .http
            .get(url)
            .header(ACCEPT, "application/fhir+json")
            .header(CACHE_CONTROL, "no-cache");
        let response = self.send(&self.http, request, credentials).await?;
        let status = response.status().as_u16();
        let answer = self.answer(response, status).await;
        self.answered(started, throttled(&answer)).await;
        let bytes = if let Ok(Answer::Body { body, .. }) = &answer {
            body.len()
        } else {
            0
        };
        tracing::debug!(
            status,
            bytes,
            duration_ms = started.elapsed().as_millis() as u64,
            "source answered"
        );
        answer
    }

    /// Tells the pace how a request was answered that began at `started`.
    pub(crate) async fn answered(&self, started: Instant, throttled: Option<Option<Duration>>) {
        if let Some(pace) = &self.pace {
            let took = started.elapsed();
            pace.answered(Answered { took, throttled }).await;
        }
    }

    /// What an answer means.
    pub(crate) async fn answer(&self, response: Response, status: u16) -> Result<Answer, Error> {
        let host = Arc::clone(&self.base.host);
        match status {
            200..=299 => {
                let url = response.url().clone();
                let served_at = header::served_at(response.headers());
                Ok(Answer::Body {
                    body: self.body(response).await?,
                    url,
                    served_at,
                })
            }
            300..=399 => {
                let location = response
                    .headers()
                    .get(LOCATION)
                    .and_then(|value| value.to_str().ok());
                match location.map(|location| self.base.resolve(location, response.url())) {
                    Some(Err(error)) => Err(error),
                    _ => Err(self.base.protocol("a redirect that leads nowhere")),
                }
            }
            401 => Err(Error::Unauthorized { host, status }),
            429 | 503 => Err(Error::Throttled {
                host,
                status,
                retry_after: header::retry_after(response.headers()),
            }),
            408 | 425 => Err(self.unavailable(Some(status), None)),
            400..=499 | 501 => Ok(Answer::Refused(status, said(response).await)),
            500 => match said(response).await {
                said if said.is_outcome || said.demand.is_some() => {
                    Err(Error::Failed { host, status, said })
                }
                _ => Err(self.unavailable(Some(status), None)),
            },
            _ => Err(self.unavailable(Some(status), None)),
        }
    }

    /// The whole body, decompressed, within the limit.
    pub(crate) async fn body(&self, response: Response) -> Result<Bytes, Error> {
        let read = guard::whole(response, self.limits.body_bytes_max).await;
        read.map_err(|error| match error {
            BodyError::TooLarge { limit } => Error::TooLarge {
                host: Arc::clone(&self.base.host),
                limit,
            },
            BodyError::Http(error) => self.unavailable(None, Some(error)),
        })
    }
}

/// Whether a source wants to be left alone, and for how long.
pub(crate) fn throttled<T>(answer: &Result<T, Error>) -> Option<Option<Duration>> {
    match answer {
        Err(Error::Throttled { retry_after, .. }) => Some(*retry_after),
        _ => None,
    }
}

/// What a refusal says; nothing where its body does not come whole.
async fn said(response: Response) -> Box<Said> {
    let insufficient_scope = header::is_insufficient_scope(response.headers());
    let body = guard::whole(response, SAID_BYTES_MAX)
        .await
        .unwrap_or_default();
    Box::new(Said {
        insufficient_scope,
        ..Said::read(&body)
    })
}

//! One request and its answer: credentials, timeouts, redirects, the size of the
//! body, and the statuses that mean the same whatever was asked.
//!
//! Invariant: the credential leaves for the configured origin only; redirects
//! elsewhere are not followed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Response, redirect};
use url::Url;

use crate::base::Base;
use crate::error::Error;
use crate::header;
use crate::request::{Auth, Limits};

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
    Refused(u16),
}

/// Sends requests to one source. Clones share connections.
#[derive(Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    base: Arc<Base>,
    credentials: Option<HeaderValue>,
    pub(crate) limits: Limits,
}

impl Transport {
    pub(crate) fn new(base: Arc<Base>, auth: &Auth, limits: Limits) -> Result<Self, Error> {
        let origin = Arc::clone(&base);
        let follow = redirect::Policy::custom(move |attempt| {
            if origin.is_same_origin(attempt.url()) && attempt.previous().len() <= REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(follow)
            .referer(false)
            .user_agent(concat!("chartlift/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.idle_timeout)
            .timeout(limits.request_timeout)
            .build()
            .map_err(|_| Error::Config {
                what: "its TLS client cannot be set up on this machine",
            })?;
        Ok(Self {
            http,
            base,
            credentials: credentials(auth)?,
            limits,
        })
    }

    pub(crate) fn with_auth(&self, auth: &Auth) -> Result<Self, Error> {
        Ok(Self {
            credentials: credentials(auth)?,
            ..self.clone()
        })
    }

    pub(crate) async fn get(&self, url: Url) -> Result<Answer, Error> {
        let started = Instant::now();
        let mut request = self.http.get(url).header(ACCEPT, "application/fhir+json");
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, credentials.clone());
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.unavailable(None, Some(error)))?;
        let status = response.status().as_u16();
        let answer = self.answer(response, status).await;
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

    async fn answer(&self, response: Response, status: u16) -> Result<Answer, Error> {
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
            400..=499 | 501 => Ok(Answer::Refused(status)),
            _ => Err(self.unavailable(Some(status), None)),
        }
    }

    /// The whole body, decompressed, within the limit.
    async fn body(&self, mut response: Response) -> Result<Bytes, Error> {
        let limit = self.limits.body_bytes_max;
        let too_large = || Error::TooLarge {
            host: Arc::clone(&self.base.host),
            limit,
        };
        let announced = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(0);
        if announced > limit {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unavailable(None, Some(error)))?
        {
            if chunk.len() > limit - body.len() {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    pub(crate) fn unavailable(&self, status: Option<u16>, source: Option<reqwest::Error>) -> Error {
        let timeout = source.as_ref().is_some_and(reqwest::Error::is_timeout)
            || matches!(status, Some(408 | 504));
        let source = source.map(reqwest::Error::without_url);
        Error::Unavailable {
            host: Arc::clone(&self.base.host),
            status,
            timeout,
            source,
        }
    }
}

fn credentials(auth: &Auth) -> Result<Option<HeaderValue>, Error> {
    let Auth::Bearer(token) = auth else {
        return Ok(None);
    };
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| Error::Config {
            what: "its token holds characters that no header can carry",
        })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

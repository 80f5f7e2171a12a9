//! Attachments: asking for what lies at a URL that a resource names.
//!
//! Servers give a document as it is, or in a Binary resource, and not always as they
//! are asked: which of the two it is shows by the answer. As everywhere, no other
//! origin is asked, and none is redirected to.

mod body;
mod place;

use std::fmt;
use std::time::Instant;

use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderValue, IF_NONE_MATCH, LOCATION};
use url::Url;

pub use self::body::AttachmentBody;
pub use self::place::{AttachmentPlace, attachment_place};
use crate::client::SourceClient;
use crate::error::Error;
use crate::transport::{Answer, throttled};

/// Redirects followed within the origin.
const REDIRECTS_MAX: usize = 5;
const FHIR_JSON: &str = "application/fhir+json";

/// What to ask for.
#[derive(Clone, Copy)]
pub struct AttachmentRequest<'a> {
    /// Where it lies: of [`AttachmentPlace::Here`].
    pub place: &'a str,
    /// What its resource says it is: a media type, as [`media_type`](model::media_type) gives it.
    pub declared_type: Option<&'a str>,
    /// The `ETag` of what is had already.
    pub etag: Option<&'a str>,
}

/// What was answered.
#[derive(Debug)]
pub enum AttachmentAnswer {
    /// The bytes.
    Body(Box<AttachmentBody>),
    /// What is had already.
    Unchanged,
    /// 404 or 410.
    Missing {
        /// Whether it was there and is deleted.
        is_deleted: bool,
    },
}

/// What a request for one form of an attachment came to.
enum Asked {
    Answered(AttachmentAnswer),
    /// Not in this form: what the source answered.
    NotSo(Error),
}

impl SourceClient {
    /// Asks for an attachment: as what it is said to be, else in a Binary resource, else
    /// as whatever there is.
    ///
    /// # Errors
    /// As its kind says; [`Error::ForeignLink`] where the source redirects to another.
    pub async fn attachment(
        &self,
        asked: AttachmentRequest<'_>,
    ) -> Result<AttachmentAnswer, Error> {
        let url = match asked.place.contains("://") {
            true => self.base.parse(asked.place)?,
            false => self.base.parse(&self.base.join(asked.place))?,
        };
        let mut forms: Vec<&str> = asked.declared_type.into_iter().collect();
        match asked.declared_type {
            Some(_) => forms.extend([FHIR_JSON, "*/*"]),
            None => forms.extend(["*/*", FHIR_JSON]),
        }
        let mut refused = None;
        for form in forms {
            let ask = |credentials| self.ask_attachment(&url, form, asked, credentials);
            match self.transport.with_credentials(ask).await? {
                Asked::Answered(answer) => return Ok(answer),
                Asked::NotSo(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| self.base.protocol("no form to ask for")))
    }

    async fn ask_attachment(
        &self,
        url: &Url,
        form: &str,
        asked: AttachmentRequest<'_>,
        credentials: Option<HeaderValue>,
    ) -> Result<Asked, Error> {
        let client = self.files.client()?;
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = client.get(url.clone()).header(ACCEPT, form);
            if let Some(etag) = asked.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
                request = request.header(IF_NONE_MATCH, etag);
            }
            let started = Instant::now();
            let sent = self.transport.send(client, request, credentials.clone());
            let response = sent.await?;
            let location = response.headers().get(LOCATION);
            match location.and_then(|value| value.to_str().ok()) {
                Some(location) if response.status().is_redirection() => {
                    url = self.base.resolve(location, &url)?;
                }
                _ => {
                    let answer = self.attachment_answer(response, asked).await;
                    self.transport.answered(started, throttled(&answer)).await;
                    return answer;
                }
            }
        }
        Err(self
            .base
            .protocol("an attachment that redirects in a circle"))
    }

    async fn attachment_answer(
        &self,
        response: Response,
        asked: AttachmentRequest<'_>,
    ) -> Result<Asked, Error> {
        let status = response.status().as_u16();
        let answer = match status {
            200 => {
                let body = AttachmentBody::new(response, &self.transport, &self.base);
                let body = body.look(asked.declared_type).await?;
                AttachmentAnswer::Body(Box::new(body))
            }
            304 if asked.etag.is_some() => AttachmentAnswer::Unchanged,
            404 | 410 => AttachmentAnswer::Missing {
                is_deleted: status == 410,
            },
            201..=399 => return Err(self.base.protocol("an attachment without bytes")),
            _ => match self.transport.answer(response, status).await? {
                Answer::Refused(status, said) => {
                    let refused = self.refused(status, said);
                    return match status {
                        406 | 415 => Ok(Asked::NotSo(refused)),
                        _ => Err(refused),
                    };
                }
                Answer::Body { .. } => {
                    return Err(self.base.protocol("an answer without a status"));
                }
            },
        };
        Ok(Asked::Answered(answer))
    }
}

impl fmt::Debug for AttachmentRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentRequest").finish_non_exhaustive()
    }
}

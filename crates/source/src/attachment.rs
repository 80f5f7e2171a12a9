//! Attachments: where a URL in a resource leads, and the bytes that lie there, as a
//! stream.
//!
//! Servers give a document as it is, or in a Binary resource, and not always as they
//! are asked: which of the two it is shows by the answer. As everywhere, no other
//! origin is asked, and none is redirected to.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{OCTETS, media_type};
use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use url::Url;

use crate::base::{Base, encode};
use crate::binary::BinaryText;
use crate::client::SourceClient;
use crate::error::Error;
use crate::reference::reference_target;
use crate::transport::{Answer, Transport, throttled};

/// Redirects followed within the origin.
const REDIRECTS_MAX: usize = 5;
/// So much of an answer in JSON is read to see whether it is a Binary resource.
const LOOK_BYTES_MAX: usize = 64 << 10;
/// A longer URL is none.
const URL_BYTES_MAX: usize = 8_192;
const FHIR_JSON: &str = "application/fhir+json";
/// How servers name FHIR in JSON.
const JSON_TYPES: [&str; 4] = [
    FHIR_JSON,
    "application/json+fhir",
    "application/json",
    "text/json",
];

/// Where the URL of an attachment leads.
#[derive(Clone, PartialEq, Eq)]
pub enum AttachmentPlace {
    /// To the source: relative to its base where it lies below that, else the whole URL.
    Here(String),
    /// To another server.
    Elsewhere,
    /// To the URL itself, which has the bytes.
    Inline,
    /// Nowhere that could be asked.
    Nowhere,
}

/// Where the URL of an attachment leads, seen from the base. Of what reads as a
/// reference to a resource of the source's, neither scheme nor the case of the path
/// counts, as in [`reference_target`].
#[must_use]
pub fn attachment_place(url: &str, base: &Url) -> AttachmentPlace {
    let url = url.trim();
    if url
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
    {
        return AttachmentPlace::Inline;
    }
    if url.is_empty() || url.starts_with('#') || url.len() > URL_BYTES_MAX {
        return AttachmentPlace::Nowhere;
    }
    if !url.contains("/_history/")
        && let Some((resource_type, id)) = reference_target(url, base)
    {
        return match id.as_str() {
            "." | ".." => AttachmentPlace::Nowhere,
            id => AttachmentPlace::Here(format!("{resource_type}/{}", encode(id))),
        };
    }
    let Ok(base) = Base::new(base) else {
        return AttachmentPlace::Nowhere;
    };
    let below = base.join("");
    let joined = Url::parse(&below).and_then(|below| below.join(url));
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
    let Some(joined) = joined.ok().filter(is_web) else {
        return AttachmentPlace::Nowhere;
    };
    match base.parse(joined.as_str()) {
        Ok(own) => AttachmentPlace::Here(match own.as_str().strip_prefix(&below) {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => own.into(),
        }),
        Err(Error::ForeignLink { .. }) => AttachmentPlace::Elsewhere,
        Err(_) => AttachmentPlace::Nowhere,
    }
}

/// What to ask for.
#[derive(Clone, Copy)]
pub struct AttachmentRequest<'a> {
    /// Where it lies: of [`AttachmentPlace::Here`].
    pub place: &'a str,
    /// What its resource says it is: a media type, as [`media_type`] gives it.
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

/// Bytes that come in.
pub struct AttachmentBody {
    response: Response,
    transport: Transport,
    base: Arc<Base>,
    served_type: Option<String>,
    etag: Option<String>,
    /// What was read while looking what it is.
    looked: Vec<Bytes>,
    /// A Binary resource, and what was decoded of it.
    binary: Option<(BinaryText, Vec<u8>)>,
}

impl AttachmentBody {
    /// What the source says it is: a media type; none where it does not say, or not
    /// yet: of a Binary resource it may stand behind the bytes.
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        let said = match &self.binary {
            Some((text, _)) => text.content_type().and_then(media_type),
            None => self.served_type.clone(),
        };
        said.filter(|name| name != OCTETS)
    }

    /// Its size in bytes, where the answer says that before.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        match self.binary {
            Some(_) => None,
            None => self.response.content_length(),
        }
    }

    /// Its `ETag`.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the answer breaks off, [`Error::Protocol`] where a
    /// Binary resource is not whole.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((text, decoded)) = &mut self.binary else {
            if !self.looked.is_empty() {
                return Ok(Some(self.looked.remove(0)));
            }
            return next(&mut self.response, &self.transport).await;
        };
        loop {
            if !decoded.is_empty() {
                return Ok(Some(std::mem::take(decoded).into()));
            }
            let broken = || self.base.protocol("a Binary that is not whole");
            match next(&mut self.response, &self.transport).await? {
                Some(chunk) => text.push(&chunk, decoded).map_err(|_| broken())?,
                None => {
                    // Taken, so that it ends once; what it said it is stays.
                    let text = std::mem::take(text);
                    self.served_type = text.content_type().and_then(media_type);
                    self.binary = None;
                    text.finish().map_err(|_| broken())?;
                    return Ok(None);
                }
            }
        }
    }

    /// Reads the beginning of an answer in JSON: a Binary resource stands for other
    /// bytes than its own.
    async fn look(mut self, declared_type: Option<&str>) -> Result<Self, Error> {
        let is_json = |name: &str| JSON_TYPES.contains(&name);
        if !self.served_type.as_deref().is_some_and(is_json) {
            return Ok(self);
        }
        let (mut text, mut decoded) = (BinaryText::default(), Vec::new());
        let mut length = 0;
        while length < LOOK_BYTES_MAX {
            let Some(chunk) = next(&mut self.response, &self.transport).await? else {
                break;
            };
            length += chunk.len();
            let is_read = text.push(&chunk, &mut decoded).is_ok();
            self.looked.push(chunk);
            match text.resource_type() {
                Some("Binary") if is_read => {
                    self.looked.clear();
                    self.binary = Some((text, decoded));
                    return Ok(self);
                }
                None if is_read => {}
                _ => break,
            }
        }
        // A resource in the place of a document is an answer to another question.
        if text.resource_type().is_some() && !declared_type.is_none_or(is_json) {
            return Err(self
                .base
                .protocol("a resource in the place of an attachment"));
        }
        Ok(self)
    }
}

async fn next(response: &mut Response, transport: &Transport) -> Result<Option<Bytes>, Error> {
    let chunk = response.chunk().await;
    chunk.map_err(|error| transport.unavailable(None, Some(error)))
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
                let body = self.attachment_body(response).look(asked.declared_type);
                AttachmentAnswer::Body(Box::new(body.await?))
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

    fn attachment_body(&self, response: Response) -> AttachmentBody {
        let text = |name| {
            let value: Option<&HeaderValue> = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        AttachmentBody {
            served_type: text(CONTENT_TYPE).and_then(media_type),
            etag: text(ETAG).map(str::to_owned),
            transport: self.transport.clone(),
            base: Arc::clone(&self.base),
            looked: Vec::new(),
            binary: None,
            response,
        }
    }
}

impl fmt::Debug for AttachmentBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentBody").finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachmentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here(..)",
            Self::Elsewhere => "Elsewhere",
            Self::Inline => "Inline",
            Self::Nowhere => "Nowhere",
        })
    }
}

impl fmt::Debug for AttachmentRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentRequest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_field() {
        use AttachmentPlace as P;
        let base = "https://ehr.example/fhir/R4".parse().unwrap();
        let here = |place: &str| P::Here(place.to_owned());
        for (url, expected) in [
            ("Binary/1", here("Binary/1")),
            (" Binary/a b ", here("Binary/a%20b")),
            (
                "https://ehr.example/fhir/R4/Binary/XR-1",
                here("Binary/XR-1"),
            ),
            (
                "http://ehr.example/fhir/r4/Binary/XR-1",
                here("Binary/XR-1"),
            ),
            ("Binary/1/_history/2", here("Binary/1/_history/2")),
            ("Binary/1?format=pdf", here("Binary/1?format=pdf")),
            ("documents/a/b.pdf#page=2", here("documents/a/b.pdf")),
            ("/files/b.pdf", here("https://ehr.example/files/b.pdf")),
            (
                "https://u:p@ehr.example:443/files/b.pdf",
                here("https://ehr.example/files/b.pdf"),
            ),
            ("https://files.example.net/dummy.pdf", P::Elsewhere),
            ("http://ehr.example/files/b.pdf", P::Elsewhere),
            ("https://ehr.example:8443/fhir/R4/Binary/1", P::Elsewhere),
            ("//evil.example/x", P::Elsewhere),
            ("data:text/plain;base64,aGVsbG8=", P::Inline),
            ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", P::Nowhere),
            ("#contained", P::Nowhere),
            ("", P::Nowhere),
            ("ftp://ehr.example/x", P::Nowhere),
            ("Binary/..", P::Nowhere),
            ("javascript:1", P::Nowhere),
        ] {
            assert!(attachment_place(url, &base) == expected, "{url}");
        }
        let long = format!("Binary/{}", "x".repeat(URL_BYTES_MAX));
        assert!(attachment_place(&long, &base) == P::Nowhere);
    }
}

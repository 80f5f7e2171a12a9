//! The bytes of an attachment, as a stream: as they are, or decoded out of a Binary
//! resource.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use model::{OCTETS, media_type};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderValue};

use super::FHIR_JSON;
use crate::base::Base;
use crate::binary::BinaryText;
use crate::error::Error;
use crate::transport::Transport;

/// So much of an answer in JSON is read to see whether it is a Binary resource.
const LOOK_BYTES_MAX: usize = 64 << 10;
/// How servers name FHIR in JSON.
const JSON_TYPES: [&str; 4] = [
    FHIR_JSON,
    "application/json+fhir",
    "application/json",
    "text/json",
];

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
    /// The body of an answer.
    pub(super) fn new(response: Response, transport: &Transport, base: &Arc<Base>) -> Self {
        let text = |name| {
            let value: Option<&HeaderValue> = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        Self {
            served_type: text(CONTENT_TYPE).and_then(media_type),
            etag: text(ETAG).map(str::to_owned),
            transport: transport.clone(),
            base: Arc::clone(base),
            looked: Vec::new(),
            binary: None,
            response,
        }
    }

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
    pub(super) async fn look(mut self, declared_type: Option<&str>) -> Result<Self, Error> {
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

impl fmt::Debug for AttachmentBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentBody").finish_non_exhaustive()
    }
}

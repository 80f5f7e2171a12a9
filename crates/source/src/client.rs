//! What a source is asked, and what its answers mean: `metadata`, reads, and the
//! pages of searches.
//!
//! Each call is one request, redirects aside. Whether and when to ask again is
//! the caller's: it holds the rates, the tokens and the visited links.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use guard::Guard;
use model::{RawResource, is_resource_type};
use serde_json::value::RawValue;
use url::Url;

use crate::base::{Base, encode};
use crate::capability::{self, Capabilities};
use crate::compartment::{self, Access, StreamPlan};
use crate::error::Error;
use crate::page::{self, Page};
use crate::reference::type_and_id;
use crate::request::{Auth, Limits, Pace};
use crate::transport::{Answer, Transport};

/// Smaller pages are split where they arrive; larger ones (milliseconds of CPU)
/// where they cannot delay other requests.
const INLINE_SPLIT_MAX: usize = 1 << 20;

/// A client of one source. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct SourceClient {
    transport: Transport,
    base: Arc<Base>,
}

/// What a read found.
#[derive(Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The resource.
    Found(Box<RawResource>),
    /// 410: it was there and is deleted.
    Gone,
    /// 404: never there, or not for this client.
    NotFound,
    /// Neither: proves nothing about the resource (I11).
    Refused {
        /// A status of 400 to 499, or 501.
        status: u16,
    },
}

/// What a cursor asks for.
enum Asked {
    Resource(String, String),
    FirstPage,
    NextPage,
}

impl SourceClient {
    /// A client of the server at `base_url`. Reaches for nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`]: a base URL that is not plain http(s), or a token that
    /// no header can carry.
    pub fn new(base_url: Url, auth: Auth, limits: Limits, guard: &Guard) -> Result<Self, Error> {
        let base = Arc::new(Base::new(&base_url)?);
        Ok(Self {
            transport: Transport::new(Arc::clone(&base), &auth, limits, guard)?,
            base,
        })
    }

    /// The same client with other credentials, such as a refreshed token.
    ///
    /// # Errors
    /// [`Error::Config`]: a token that no header can carry.
    pub fn with_auth(&self, auth: Auth) -> Result<Self, Error> {
        Ok(Self {
            transport: self.transport.with_auth(&auth)?,
            base: Arc::clone(&self.base),
        })
    }

    /// The same client, each of whose requests waits for its turn.
    #[must_use]
    pub fn with_pace(&self, pace: Arc<dyn Pace>) -> Self {
        Self {
            transport: self.transport.with_pace(pace),
            base: Arc::clone(&self.base),
        }
    }

    /// What the source declares of itself: `GET metadata`.
    ///
    /// # Errors
    /// As its kind says; [`Error::Config`] where the source is not R4.
    pub async fn capabilities(&self) -> Result<Capabilities, Error> {
        match self
            .transport
            .get(self.base.parse(&self.base.join("metadata"))?)
            .await?
        {
            Answer::Body { body, .. } => capability::parse(&body, &self.base),
            Answer::Refused(status) => Err(self.refused(status)),
        }
    }

    /// What to ask this source for, for any patient: the patient first, by read.
    #[must_use]
    pub fn plan(&self, capabilities: &Capabilities) -> Vec<StreamPlan> {
        compartment::plan(capabilities)
    }

    /// The first cursor of a stream, for [`Self::page`]. `patient_id` may hold
    /// any characters.
    #[must_use]
    pub fn first_page_url(&self, plan: &StreamPlan, patient_id: &str) -> String {
        let resource_type = &plan.resource_type;
        let Access::Search { parameter } = &plan.access else {
            return self
                .base
                .join(&format!("{resource_type}/{}", encode(patient_id)));
        };
        // A comma in an id would ask for two patients: search.html#escaping.
        let mut escaped = String::with_capacity(patient_id.len());
        for c in patient_id.chars() {
            if matches!(c, '\\' | ',' | '$' | '|') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        // `patient` says the type; the others take several.
        let type_prefix = if parameter == "patient" {
            ""
        } else {
            "Patient/"
        };
        let query = format!(
            "{parameter}={type_prefix}{}&_count={}",
            encode(&escaped),
            self.transport.limits.page_size
        );
        self.base.join(&format!("{resource_type}?{query}"))
    }

    /// Reads one resource. Only `Gone` and `NotFound` say that it is not there.
    ///
    /// # Errors
    /// As its kind says; a server's 500 for an unknown id is
    /// [`Error::Unavailable`].
    pub async fn read(&self, resource_type: &str, id: &str) -> Result<ReadOutcome, Error> {
        Ok(match self.read_page(resource_type, id).await? {
            Ok(page) => match page.resources.into_iter().next() {
                Some(found) => ReadOutcome::Found(Box::new(found)),
                None => return Err(self.base.protocol("a read without a resource")),
            },
            Err(410) => ReadOutcome::Gone,
            Err(404) => ReadOutcome::NotFound,
            Err(status) => ReadOutcome::Refused { status },
        })
    }

    /// Fetches and splits the page a cursor names: a [`Self::first_page_url`]
    /// (the read of the patient is a page of one resource) or a `next` link.
    ///
    /// # Errors
    /// As its kind says. 400, 404 and 410 refuse a first page, and mean that the
    /// cursor of a later one has expired.
    pub async fn page(&self, cursor: &str) -> Result<Page, Error> {
        let url = self.base.parse(cursor)?;
        let asked = self.asked(&url);
        if let Asked::Resource(resource_type, id) = &asked {
            return self
                .read_page(resource_type, id)
                .await?
                .map_err(|status| self.refused(status));
        }
        match self.transport.get(url).await? {
            Answer::Body {
                body,
                url,
                served_at,
            } => {
                let page = self.split(body, url).await?;
                Ok(Page { served_at, ..page })
            }
            Answer::Refused(status @ (400 | 404 | 410)) if matches!(asked, Asked::NextPage) => {
                Err(Error::CursorExpired {
                    host: Arc::clone(&self.base.host),
                    status,
                })
            }
            Answer::Refused(status) => Err(self.refused(status)),
        }
    }

    /// Tells our own first pages from opaque links by their exact form; a link
    /// of that form would be the first page again.
    fn asked(&self, url: &Url) -> Asked {
        let Some(local) = self.base.strip(url) else {
            return Asked::NextPage;
        };
        // Only the patient is planned as a read; other paths may be opaque links.
        if let (None, Some((resource_type, id))) = (url.query(), type_and_id(local))
            && resource_type == "Patient"
        {
            return Asked::Resource(resource_type, id);
        }
        let resource_type = local.split_once('?').map_or(local, |(path, _)| path);
        let names: Vec<_> = url.query_pairs().map(|(name, _)| name).collect();
        match names.as_slice() {
            [parameter, count]
                if count == "_count" && compartment::is_parameter(resource_type, parameter) =>
            {
                Asked::FirstPage
            }
            _ => Asked::NextPage,
        }
    }

    async fn read_page(&self, resource_type: &str, id: &str) -> Result<Result<Page, u16>, Error> {
        // A URL drops dot segments, so these would name something else.
        if !is_resource_type(resource_type) || matches!(id, "" | "." | "..") {
            return Err(self.base.protocol("a type or id that no URL can carry"));
        }
        let url = self
            .base
            .parse(&self.base.join(&format!("{resource_type}/{}", encode(id))))?;
        let (body, served_at) = match self.transport.get(url).await? {
            Answer::Refused(status) => return Ok(Err(status)),
            Answer::Body {
                body, served_at, ..
            } => (body, served_at),
        };
        let text = std::str::from_utf8(&body)
            .map_err(|_| self.base.protocol("a read that is not UTF-8"))?;
        let raw: &RawValue = serde_json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(text))
            .map_err(|_| self.base.protocol("a read that is not whole FHIR JSON"))?;
        let found = page::resource(&body, raw)
            .map_err(|_| self.base.protocol("a read without a usable type or id"))?;
        // Another resource than asked for could be another person's.
        if found.head.resource_type != resource_type || found.head.id != id {
            return Err(self.base.protocol("a read that gives another resource"));
        }
        Ok(Ok(Page {
            resources: vec![found],
            bytes: body.len() as u64,
            served_at,
            ..Page::default()
        }))
    }

    async fn split(&self, body: Bytes, url: Url) -> Result<Page, Error> {
        if body.len() <= INLINE_SPLIT_MAX {
            return page::split(&body, &self.base, &url);
        }
        let base = Arc::clone(&self.base);
        match tokio::task::spawn_blocking(move || page::split(&body, &base, &url)).await {
            Ok(page) => page,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process is ending.
                Err(_) => Err(self.transport.unavailable(None, None)),
            },
        }
    }

    fn refused(&self, status: u16) -> Error {
        Error::Refused {
            host: Arc::clone(&self.base.host),
            status,
        }
    }
}

impl fmt::Debug for SourceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceClient")
            .field("host", &self.base.host)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(_) => f.write_str("Found(..)"),
            Self::Gone => f.write_str("Gone"),
            Self::NotFound => f.write_str("NotFound"),
            Self::Refused { status } => write!(f, "Refused {{ status: {status} }}"),
        }
    }
}

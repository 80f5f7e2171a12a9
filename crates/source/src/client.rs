//! What a source is asked, and what its answers mean: `metadata`, reads, and the
//! pages of searches.
//!
//! Each call is one request, redirects aside. Whether and when to ask again is
//! the caller's: it holds the rates, the tokens and the visited links.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use guard::Guard;
use model::{RawResource, RejectReason, Timestamp, is_resource_type};
use url::Url;

use crate::base::{Base, encode};
use crate::capability::{self, Capabilities};
use crate::compartment::{self, Access, StreamPlan, Wanted};
use crate::error::Error;
use crate::export_file::FileClient;
use crate::first_page::FirstPage;
use crate::page::{self, Page};
use crate::parts;
use crate::request::{Auth, Limits, Pace};
use crate::said::Said;
use crate::transport::{Answer, Transport};

/// Smaller pages are split where they arrive; larger ones (milliseconds of CPU)
/// where they cannot delay other requests.
const INLINE_SPLIT_MAX: usize = 1 << 20;

/// A client of one source. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct SourceClient {
    pub(crate) transport: Transport,
    pub(crate) base: Arc<Base>,
    pub(crate) files: Arc<FileClient>,
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

impl SourceClient {
    /// A client of the server at `base_url`. Reaches for nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`]: a base URL that is not plain http(s), or a token that
    /// no header can carry.
    pub fn new(base_url: Url, auth: Auth, limits: Limits, guard: &Guard) -> Result<Self, Error> {
        let base = Arc::new(Base::new(&base_url)?);
        let files = Arc::new(FileClient::new(guard, &limits));
        Ok(Self {
            transport: Transport::new(Arc::clone(&base), &auth, limits, guard)?,
            base,
            files,
        })
    }

    /// The same client with other credentials, such as a refreshed token.
    ///
    /// # Errors
    /// [`Error::Config`]: a token that no header can carry.
    pub fn with_auth(&self, auth: Auth) -> Result<Self, Error> {
        Ok(Self {
            transport: self.transport.with_auth(&auth)?,
            ..self.clone()
        })
    }

    /// The same client, each of whose requests waits for its turn.
    #[must_use]
    pub fn with_pace(&self, pace: Arc<dyn Pace>) -> Self {
        Self {
            transport: self.transport.with_pace(pace),
            ..self.clone()
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
            Answer::Refused(status, said) => Err(self.refused(status, said)),
        }
    }

    /// What to ask this source for, for any patient: the patient first, by read.
    #[must_use]
    pub fn plan(&self, capabilities: &Capabilities, wanted: Wanted<'_>) -> Vec<StreamPlan> {
        compartment::plan(capabilities, wanted)
    }

    /// The types that would be asked for if the grant reached them, in the order of the
    /// alphabet; none where the source does not declare what it has.
    #[must_use]
    pub fn not_granted(&self, capabilities: &Capabilities, wanted: Wanted<'_>) -> Vec<String> {
        compartment::not_granted(capabilities, wanted)
    }

    /// Fetches and splits the first page of a stream; the read of the patient is a
    /// page of one resource.
    ///
    /// # Errors
    /// As its kind says.
    pub async fn first_page(
        &self,
        plan: &StreamPlan,
        patient_id: &str,
        at: FirstPage,
    ) -> Result<Page, Error> {
        if plan.access == Access::Read {
            return self
                .read_page(&plan.resource_type, patient_id)
                .await?
                .map_err(|(status, said)| self.refused(status, said));
        }
        let url = self.first_page_url(plan, patient_id, at);
        match self.transport.get(self.base.parse(&url)?).await? {
            Answer::Refused(status, said) => Err(self.refused(status, said)),
            Answer::Body {
                body,
                url,
                served_at,
            } => self.split(body, url, served_at).await,
        }
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
            Err((410, _)) => ReadOutcome::Gone,
            Err((404, _)) => ReadOutcome::NotFound,
            Err((status, _)) => ReadOutcome::Refused { status },
        })
    }

    /// Fetches and splits the page a `next` link names.
    ///
    /// # Errors
    /// As its kind says; [`Error::CursorExpired`] for 400, 404 and 410.
    pub async fn page(&self, cursor: &str) -> Result<Page, Error> {
        match self.transport.get(self.base.parse(cursor)?).await? {
            Answer::Body {
                body,
                url,
                served_at,
            } => self.split(body, url, served_at).await,
            Answer::Refused(status @ (400 | 404 | 410), _) => Err(Error::CursorExpired {
                host: Arc::clone(&self.base.host),
                status,
            }),
            Answer::Refused(status, said) => Err(self.refused(status, said)),
        }
    }

    /// The resource as a page, or the status that refuses it.
    async fn read_page(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Result<Page, (u16, Box<Said>)>, Error> {
        // A URL drops dot segments, so these would name something else.
        if !is_resource_type(resource_type) || matches!(id, "" | "." | "..") {
            return Err(self.base.protocol("a type or id that no URL can carry"));
        }
        let url = self
            .base
            .parse(&self.base.join(&format!("{resource_type}/{}", encode(id))))?;
        let (body, served_at) = match self.transport.get(url).await? {
            Answer::Refused(status, said) => return Ok(Err((status, said))),
            Answer::Body {
                body, served_at, ..
            } => (body, served_at),
        };
        let found = parts::resource(&body).map_err(|(reason, _)| {
            self.base.protocol(match reason {
                RejectReason::Encoding => "a read that is not UTF-8",
                RejectReason::Syntax => "a read that is not whole FHIR JSON",
                _ => "a read without a usable type or id",
            })
        })?;
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

    async fn split(
        &self,
        body: Bytes,
        url: Url,
        served_at: Option<Timestamp>,
    ) -> Result<Page, Error> {
        let base = Arc::clone(&self.base);
        let is_small = body.len() <= INLINE_SPLIT_MAX;
        let split = move || {
            let page = page::split(&body, &base, &url)?;
            Ok(Page { served_at, ..page })
        };
        if is_small {
            return split();
        }
        match tokio::task::spawn_blocking(split).await {
            Ok(page) => page,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process is ending.
                Err(_) => Err(self.transport.unavailable(None, None)),
            },
        }
    }

    pub(crate) fn refused(&self, status: u16, said: Box<Said>) -> Error {
        Error::Refused {
            host: Arc::clone(&self.base.host),
            status,
            said,
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

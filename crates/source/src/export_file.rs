//! The files of an export, line by line.
//!
//! Invariant: the source's credentials go with a request of its own origin alone, and
//! only where the manifest asks for them. A redirect to another origin is followed
//! without them, and from then on there are none: what it leads to is let through by
//! its URL. The guard sees every hop.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use guard::{Bounds, Client, Guard, Redirects};
use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderValue, LOCATION};
use url::Url;

use crate::client::SourceClient;
use crate::error::{Error, Host};
use crate::export::ExportFile;
use crate::header;
use crate::request::Limits;

/// Redirects followed from the URL of a file.
const REDIRECTS_MAX: usize = 5;
/// For a whole file, whose lines are saved on the way.
const FILE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A client that follows no redirect by itself; made when the first file is read.
pub(crate) struct FileClient {
    guard: Guard,
    bounds: Bounds,
    client: OnceLock<Client>,
}

impl FileClient {
    pub(crate) fn new(guard: &Guard, limits: &Limits) -> Self {
        Self {
            guard: guard.clone(),
            bounds: Bounds {
                connect_timeout: limits.connect_timeout,
                idle_timeout: limits.idle_timeout,
                request_timeout: FILE_TIMEOUT,
                redirects: Redirects::None,
                https_only: false,
                decompress: true,
            },
            client: OnceLock::new(),
        }
    }

    pub(crate) fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = self.guard.client(&self.bounds);
        let made = made.map_err(|_| Error::Config {
            what: "its TLS client cannot be set up on this machine",
        })?;
        Ok(self.client.get_or_init(|| made))
    }
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq)]
pub enum RawLine {
    /// Its text, without the line feed.
    Text(Bytes),
    /// It is longer than an answer may be, and was passed over.
    TooLarge,
}

/// The lines of a file. Memory is that of the longest one.
pub struct ExportLines {
    response: Response,
    host: Host,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    line_bytes_max: usize,
    /// The line at work is too long: its rest is dropped.
    dropping: bool,
    ended: bool,
}

impl ExportLines {
    /// The next line that is not empty; none at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the file breaks off.
    pub async fn next(&mut self) -> Result<Option<RawLine>, Error> {
        loop {
            let found = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                if let Some(line) = self.finish(line) {
                    return Ok(Some(line));
                }
            } else if self.ended {
                let line = self.buffer.split().freeze();
                self.searched = 0;
                return Ok(self.finish(line));
            } else {
                self.searched = self.buffer.len();
                if self.searched > self.line_bytes_max {
                    self.dropping = true;
                    self.buffer.clear();
                    self.searched = 0;
                }
                match self.response.chunk().await {
                    Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                    Ok(None) => self.ended = true,
                    Err(error) => return Err(self.broken(error)),
                }
            }
        }
    }

    fn finish(&mut self, line: Bytes) -> Option<RawLine> {
        if std::mem::take(&mut self.dropping) {
            return Some(RawLine::TooLarge);
        }
        let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line);
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| RawLine::Text(line.slice_ref(text)))
    }

    fn broken(&self, error: reqwest::Error) -> Error {
        Error::Unavailable {
            host: Arc::clone(&self.host),
            status: None,
            timeout: error.is_timeout(),
            source: Some(error.without_url()),
        }
    }
}

impl SourceClient {
    /// Opens a file of an export.
    ///
    /// # Errors
    /// [`Error::CursorExpired`] where it is not there any more, or its URL is not good
    /// any more; [`Error::Unauthorized`]; as its kind says.
    pub async fn export_lines(
        &self,
        file: &ExportFile,
        requires_access_token: bool,
    ) -> Result<ExportLines, Error> {
        let url = Url::parse(&file.url)
            .map_err(|_| self.base.protocol("an export's file that has no URL"))?;
        if requires_access_token && self.base.is_same_origin(&url) {
            let open = |credentials| self.open(url.clone(), credentials);
            return self.transport.with_credentials(open).await;
        }
        self.open(url, None).await
    }

    /// Where a file of a manifest lies that came from `from`.
    pub(crate) fn file_url(&self, link: &str, from: &Url) -> Result<Url, Error> {
        let mut url = from
            .join(link.trim())
            .map_err(|_| self.base.protocol("an export's file that has no URL"))?;
        let cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
        if !cleared || !matches!(url.scheme(), "http" | "https") {
            return Err(self.base.protocol("an export's file that has no URL"));
        }
        // What came encrypted this far is not read in the open.
        if from.scheme() == "https" && url.scheme() == "http" {
            return Err(Error::ForeignLink {
                host: Arc::clone(&self.base.host),
            });
        }
        url.set_fragment(None);
        Ok(url)
    }

    async fn open(
        &self,
        mut url: Url,
        mut credentials: Option<HeaderValue>,
    ) -> Result<ExportLines, Error> {
        let client = self.files.client()?;
        for _ in 0..=REDIRECTS_MAX {
            let request = client.get(url.clone());
            let request = request.header(ACCEPT, "application/fhir+ndjson");
            let sent = self.transport.send(client, request, credentials.clone());
            let response = sent.await?;
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            match location {
                Some(location) if response.status().is_redirection() => {
                    let next = self.file_url(location, &url)?;
                    if next.origin() != url.origin() {
                        credentials = None;
                    }
                    url = next;
                }
                _ => return self.lines(response),
            }
        }
        Err(self.base.protocol("a file that redirects in a circle"))
    }

    fn lines(&self, response: Response) -> Result<ExportLines, Error> {
        let host = Arc::clone(&self.base.host);
        let status = response.status().as_u16();
        match status {
            200 => Ok(ExportLines {
                response,
                host,
                buffer: BytesMut::new(),
                searched: 0,
                line_bytes_max: self.transport.limits.body_bytes_max,
                dropping: false,
                ended: false,
            }),
            401 => Err(Error::Unauthorized { host, status }),
            429 | 503 => Err(Error::Throttled {
                host,
                status,
                retry_after: header::retry_after(response.headers()),
            }),
            408 | 425 | 500.. => Err(self.transport.unavailable(Some(status), None)),
            // Object stores answer 400 and 403 once a signed URL is too old.
            400..=499 => Err(Error::CursorExpired { host, status }),
            _ => Err(self.base.protocol("a file that is none")),
        }
    }
}

impl fmt::Debug for ExportLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportLines").finish_non_exhaustive()
    }
}

impl fmt::Debug for RawLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::TooLarge => f.write_str("TooLarge"),
        }
    }
}

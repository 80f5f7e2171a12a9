//! A bulk export of one patient (Bulk Data Access, `Patient/$export` with `patient`):
//! asking for it, asking how far it is, its manifest, and giving it up.
//!
//! Invariant: the status URL is of the source's origin, since it is asked with the
//! source's credentials. A file may lie elsewhere (`export_file.rs`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, HeaderName};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::base::encode;
use crate::client::SourceClient;
use crate::error::Error;
use crate::header;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Files of one export at most: their URLs are kept while they are read.
const FILES_MAX: usize = 10_000;
/// Pages of one manifest at most.
const MANIFEST_PAGES_MAX: usize = 100;

/// How far an export is.
#[derive(Debug)]
pub enum ExportStatus {
    /// At work.
    Working {
        /// How long the source asks us to wait, cut to an hour.
        retry_after: Option<Duration>,
    },
    /// Done.
    Done(Manifest),
}

/// What an export made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The source's clock when it began, as it writes it.
    pub transaction_time: String,
    /// Whether its files are read with the source's credentials.
    pub requires_access_token: bool,
    /// Its files: resources, then deletions, then what it has to say.
    pub files: Vec<ExportFile>,
}

/// A file of an export. `Debug` does not show where it is: that may be all it takes to
/// read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFile {
    /// Where it is: absolute, http or https.
    pub url: String,
    /// What its lines are.
    pub kind: FileKind,
    /// The type of its resources, where the manifest says it.
    pub resource_type: Option<String>,
    /// How many lines it has, where the manifest says it.
    pub count: Option<u64>,
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Resources.
    Resources,
    /// Bundles of deletions.
    Deletions,
    /// OperationOutcomes.
    Outcomes,
}

impl fmt::Debug for ExportFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportFile")
            .field("kind", &self.kind)
            .field("resource_type", &self.resource_type)
            .finish_non_exhaustive()
    }
}

/// A manifest as it is written. Version 4 of the specification calls `outcome` what
/// those before call `error`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    transaction_time: Option<String>,
    requires_access_token: Option<bool>,
    output: Option<Vec<WrittenFile>>,
    deleted: Option<Vec<WrittenFile>>,
    error: Option<Vec<WrittenFile>>,
    outcome: Option<Vec<WrittenFile>>,
    link: Option<Vec<WrittenLink>>,
}

#[derive(Deserialize)]
struct WrittenFile {
    #[serde(rename = "type")]
    resource_type: Option<String>,
    url: String,
    count: Option<u64>,
}

#[derive(Deserialize)]
struct WrittenLink {
    relation: Option<String>,
    url: Option<String>,
}

impl SourceClient {
    /// Asks for an export of one patient; the URL that says how far it is.
    ///
    /// # Errors
    /// [`Error::Refused`] where the source does not export; as its kind says.
    pub async fn begin_export(&self, patient_id: &str) -> Result<String, Error> {
        let url = self.base.parse(&self.base.join("Patient/$export"))?;
        let body = parameters(patient_id);
        let send = |credentials| {
            let request = self
                .transport
                .http()
                .post(url.clone())
                .header(ACCEPT, "application/fhir+json")
                .header(CONTENT_TYPE, "application/fhir+json")
                .header(PREFER, "respond-async")
                // An export that was made before may be given again.
                .header(CACHE_CONTROL, "no-cache")
                .body(body.clone());
            self.transport.exchange(request, credentials)
        };
        let response = self.transport.with_credentials(send).await?;
        let place = response
            .headers()
            .get(CONTENT_LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.base.protocol("an export without a status URL"))?;
        Ok(self.base.resolve(place, response.url())?.into())
    }

    /// How far the export is whose status stands at `status_url`.
    ///
    /// # Errors
    /// [`Error::CursorExpired`] where the source has forgotten it; [`Error::Refused`]
    /// and [`Error::Failed`] where it failed, unless they say that this will pass.
    pub async fn export_status(&self, status_url: &str) -> Result<ExportStatus, Error> {
        let mut url = self.base.parse(status_url)?;
        let mut manifest = Manifest::default();
        for page in 0..MANIFEST_PAGES_MAX {
            let send = |credentials| {
                let request = self.transport.http().get(url.clone());
                let request = request
                    .header(ACCEPT, "application/json")
                    .header(CACHE_CONTROL, "no-cache");
                self.transport.exchange(request, credentials)
            };
            let response = self.transport.with_credentials(send).await;
            let response = response.map_err(|error| self.forgotten(error))?;
            if response.status().as_u16() == 202 && page == 0 {
                let retry_after = header::retry_after(response.headers());
                return Ok(ExportStatus::Working { retry_after });
            }
            let from = response.url().clone();
            let body = self.transport.body(response).await?;
            let written: Written = serde_json::from_slice(&body).map_err(|_| {
                self.base
                    .protocol("an export whose manifest cannot be read")
            })?;
            match self.add(&mut manifest, written, &from, page == 0)? {
                Some(next) => url = next,
                None => return Ok(ExportStatus::Done(manifest)),
            }
        }
        Err(self.base.protocol("an export whose manifest does not end"))
    }

    /// Tells the source that an export is not needed any more.
    ///
    /// # Errors
    /// As its kind says; an export that is over may be refused.
    pub async fn end_export(&self, status_url: &str) -> Result<(), Error> {
        let url = self.base.parse(status_url)?;
        let send = |credentials| {
            let request = self.transport.http().delete(url.clone());
            self.transport.exchange(request, credentials)
        };
        self.transport.with_credentials(send).await.map(drop)
    }

    fn forgotten(&self, error: Error) -> Error {
        match error {
            Error::Refused {
                status: status @ (404 | 410),
                ..
            } => Error::CursorExpired {
                host: Arc::clone(&self.base.host),
                status,
            },
            other => other,
        }
    }

    /// Adds a page of a manifest; the link to the next page, if there is one.
    fn add(
        &self,
        manifest: &mut Manifest,
        written: Written,
        from: &Url,
        is_first: bool,
    ) -> Result<Option<Url>, Error> {
        if is_first {
            // Without these it is some other JSON, and no export without files.
            let (Some(time), Some(_)) = (written.transaction_time, &written.output) else {
                return Err(self
                    .base
                    .protocol("an export whose manifest cannot be read"));
            };
            manifest.transaction_time = time;
            manifest.requires_access_token = written.requires_access_token.unwrap_or(true);
        }
        let outcomes = written.error.into_iter().chain(written.outcome).flatten();
        for (kind, files) in [
            (FileKind::Resources, written.output.unwrap_or_default()),
            (FileKind::Deletions, written.deleted.unwrap_or_default()),
            (FileKind::Outcomes, outcomes.collect()),
        ] {
            for file in files {
                manifest.files.push(ExportFile {
                    url: self.file_url(&file.url, from)?.into(),
                    kind,
                    resource_type: file
                        .resource_type
                        .filter(|name| model::is_resource_type(name)),
                    count: file.count,
                });
            }
        }
        if manifest.files.len() > FILES_MAX {
            return Err(self.base.protocol("an export of too many files"));
        }
        manifest.files.sort_by_key(|file| file.kind as u8);
        let next = written.link.into_iter().flatten().find(|link| {
            let relation = link.relation.as_deref();
            relation.is_some_and(|name| name.eq_ignore_ascii_case("next"))
        });
        next.map(|next| self.base.resolve(&next.url.unwrap_or_default(), from))
            .transpose()
    }
}

/// The kick-off's body. `patient` may be a parameter of a POST alone.
fn parameters(patient_id: &str) -> String {
    serde_json::json!({
        "resourceType": "Parameters",
        "parameter": [
            { "name": "_outputFormat", "valueString": "application/fhir+ndjson" },
            { "name": "patient", "valueReference": { "reference": format!("Patient/{}", encode(patient_id)) } },
        ],
    })
    .to_string()
}

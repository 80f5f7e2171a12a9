//! Splits one page of a search into resources, without re-serialising any.
//!
//! Invariant: the text of a resource is the source's, less the whitespace between
//! its tokens (I12); and a body that is no searchset is an error, never a page
//! without results.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use model::{RawResource, RejectReason, Timestamp, content_hash};
use serde::Deserialize;
use url::Url;

use crate::base::Base;
use crate::error::Error;
use crate::parts::{Entry, Link, Parts, parts};
use crate::salvage::salvage;

/// One page of a search. `Debug` shows its counts, and nothing of its content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The resources in the order of the page: matches, and includes of other
    /// types, which count for their own type.
    pub resources: Vec<RawResource>,
    /// Entries that were set aside: their resource is missing, has no usable id or
    /// type, or cannot be passed on.
    pub rejected: u64,
    /// Of these, how many for which reason.
    pub reasons: BTreeMap<RejectReason, u64>,
    /// Entries that are an OperationOutcome: nobody searches for those.
    pub ignored: u64,
    /// Whether an outcome says that results were left out: code `suppressed` or
    /// `incomplete`, severity `error` or `fatal`, or Epic's 59204; but not where it is
    /// one of the notices that stand in every answer.
    pub suppressed: bool,
    /// The opaque link to the next page: absolute, and of the source's origin.
    pub next: Option<String>,
    /// Whether the page says that the search was by `_lastUpdated`: its `self` link
    /// names the parameters that the server has used.
    pub is_by_last_updated: bool,
    /// Size of the answer, decompressed.
    pub bytes: u64,
    /// When the source answered, by its own clock.
    pub served_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    code: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    code: Option<String>,
}

/// Epic's codes for notices without meaning: "may not contain the entire record" and
/// "no results".
const NOTICES: [&str; 2] = ["4119", "4101"];
/// Epic's code for results that this client may not see.
const SUPPRESSED: &str = "59204";

/// Splits the body of a search's answer; `request_url` is what relative links
/// are resolved against, and its origin the only one they may have.
///
/// For a page that was not fetched by [`crate::SourceClient::page`]: benches,
/// fuzzing, recorded traffic.
///
/// # Errors
/// [`Error::Protocol`] and [`Error::ForeignLink`].
pub fn split_page(body: &Bytes, request_url: &Url) -> Result<Page, Error> {
    split(body, &Base::of_origin(request_url)?, request_url)
}

/// A stable hash of a cursor, to find out whether a link was followed before.
/// The link cannot be read from it.
#[must_use]
pub fn cursor_hash(cursor: &str) -> u64 {
    // A URL is no JSON object, so this is SHA-256 over its bytes.
    let [a, b, c, d, e, f, g, h, ..] = content_hash(cursor.as_bytes()).0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

pub(crate) fn split(body: &Bytes, base: &Base, url: &Url) -> Result<Page, Error> {
    let parts = parts(body).or_else(|| salvage(body));
    let parts =
        parts.ok_or_else(|| base.protocol("a search answer that is not whole FHIR JSON"))?;
    let mut page = begin(&parts, body, base, url)?;
    let is_missing = |entry: &Entry| matches!(entry, Err((RejectReason::Missing, _)));
    if !parts.resources.is_empty() && parts.resources.iter().all(is_missing) {
        return Err(base.protocol("a search answer whose entries have no resources"));
    }
    page.resources.reserve_exact(parts.resources.len());
    for entry in parts.resources {
        page.take(entry);
    }
    Ok(page)
}

/// A page of these parts, still without resources.
fn begin(parts: &Parts, body: &Bytes, base: &Base, url: &Url) -> Result<Page, Error> {
    if parts.resource_type.as_deref() != Some("Bundle") {
        return Err(base.protocol("a search answer that is not a Bundle"));
    }
    if parts.kind.as_deref() != Some("searchset") {
        return Err(base.protocol("a search answer that is not a searchset"));
    }
    let mut page = Page {
        bytes: body.len() as u64,
        ..Page::default()
    };
    let link = |name: &str| {
        parts.links.iter().find(|link| {
            link.relation
                .as_deref()
                .is_some_and(|relation| relation.eq_ignore_ascii_case(name))
        })
    };
    if let Some(next) = link("next") {
        let next = next.url.as_deref().unwrap_or_default();
        page.next = Some(base.resolve(next, url)?.into());
    }
    page.is_by_last_updated = link("self").is_some_and(names_last_updated);
    Ok(page)
}

/// Whether the query of a link has the parameter `_lastUpdated`, with a value.
fn names_last_updated(link: &Link) -> bool {
    let url = link.url.as_deref().unwrap_or_default();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "_lastUpdated" && !value.is_empty())
}

fn is_outcome(text: &[u8]) -> bool {
    type_of(text).is_some_and(|name| name == "OperationOutcome")
}

/// The `resourceType` of a JSON text that may have no usable head.
pub(crate) fn type_of(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "resourceType")]
        resource_type: String,
    }
    let typed = serde_json::from_slice::<Typed>(text).ok()?;
    Some(typed.resource_type)
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("resources", &self.resources.len())
            .field("rejected", &self.rejected)
            .field("ignored", &self.ignored)
            .field("suppressed", &self.suppressed)
            .field("has_next", &self.next.is_some())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Page {
    fn take(&mut self, entry: Entry) {
        match entry {
            Ok(resource) if resource.head.resource_type != "OperationOutcome" => {
                self.resources.push(resource);
            }
            Ok(outcome) => self.take_outcome(&outcome.text),
            // Outcomes seldom have an id.
            Err((_, text)) if is_outcome(&text) => self.take_outcome(&text),
            Err((reason, _)) => self.reject(reason),
        }
    }

    fn reject(&mut self, reason: RejectReason) {
        self.rejected += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    fn take_outcome(&mut self, text: &[u8]) {
        self.ignored += 1;
        // What cannot be read is noise, as most outcomes are.
        let issues = serde_json::from_slice::<Outcome>(text)
            .map(|outcome| outcome.issue)
            .unwrap_or_default();
        self.suppressed |= issues.iter().any(|issue| {
            let says = |codes: &[&str]| {
                let mut given = issue
                    .details
                    .coding
                    .iter()
                    .filter_map(|of| of.code.as_deref());
                given.any(|code| codes.contains(&code))
            };
            says(&[SUPPRESSED])
                || (!says(&NOTICES)
                    && (matches!(issue.code.as_deref(), Some("suppressed" | "incomplete"))
                        || matches!(issue.severity.as_deref(), Some("error" | "fatal"))))
        });
    }
}

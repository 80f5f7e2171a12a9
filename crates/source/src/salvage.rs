//! A page that is no JSON as a whole, since one of its resources is broken: its
//! parts are found by their brackets, and each is judged alone.
//!
//! Invariant: a page whose brackets do not match, such as one that was cut off, is
//! not salvaged; nor is one whose own members are broken.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use model::{RejectReason, compact, elements, member_values};
use serde_json::value::RawValue;

use crate::page::Link;

/// What is left of a page.
pub(crate) struct Salvaged {
    /// `resourceType`.
    pub(crate) resource_type: Option<String>,
    /// `type`.
    pub(crate) kind: Option<String>,
    pub(crate) links: Vec<Link>,
    /// The resources of its entries: their texts, or why there is none.
    pub(crate) resources: Vec<Result<Bytes, RejectReason>>,
}

/// Reads a page part by part; `None` where it is past that.
pub(crate) fn salvage(body: &[u8]) -> Option<Salvaged> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = compact(body);
    let mut salvaged = Salvaged {
        resource_type: None,
        kind: None,
        links: Vec::new(),
        resources: Vec::new(),
    };
    let mut seen: BTreeSet<Cow<'_, str>> = BTreeSet::new();
    for (name, value) in member_values(&text)? {
        match name.as_ref() {
            "resourceType" => salvaged.resource_type = serde_json::from_slice(value).ok()?,
            "type" => salvaged.kind = serde_json::from_slice(value).ok()?,
            "link" => salvaged.links = serde_json::from_slice(value).ok()?,
            "entry" => salvaged.resources = elements(value)?.into_iter().map(resource_of).collect(),
            _ => continue,
        }
        if !seen.insert(name) {
            return None;
        }
    }
    Some(salvaged)
}

/// The resource of an entry.
fn resource_of(entry: &[u8]) -> Result<Bytes, RejectReason> {
    let members = member_values(entry).ok_or_else(|| blame(entry))?;
    let mut named = members.iter().filter(|(name, _)| name == "resource");
    let (_, text) = named.next().ok_or(RejectReason::Missing)?;
    if named.next().is_some() {
        return Err(RejectReason::DuplicateKey);
    }
    if *text == b"null" {
        return Err(RejectReason::Missing);
    }
    let whole: Result<&RawValue, _> = serde_json::from_slice(text);
    match whole {
        Ok(_) => Ok(Bytes::copy_from_slice(text)),
        Err(_) => Err(blame(text)),
    }
}

fn blame(text: &[u8]) -> RejectReason {
    match std::str::from_utf8(text) {
        Ok(_) => RejectReason::Syntax,
        Err(_) => RejectReason::Encoding,
    }
}

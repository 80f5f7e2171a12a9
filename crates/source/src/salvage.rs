//! A page that is no JSON as a whole, since one of its resources is broken, or that is
//! unusual: its parts are found by their brackets, and each is judged alone.
//!
//! Invariant: a page whose brackets do not match, such as one that was cut off, is
//! not salvaged; nor is one whose own members are broken.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use model::{RejectReason, compact, elements, member_values};
use serde_json::value::RawValue;

use crate::parts::{Entry, Parts, judge};

/// Reads a page part by part; `None` where it is past that.
pub(crate) fn salvage(body: &[u8]) -> Option<Parts> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = compact(body);
    let mut parts = Parts {
        resource_type: None,
        kind: None,
        links: Vec::new(),
        resources: Vec::new(),
    };
    let mut seen: BTreeSet<Cow<'_, str>> = BTreeSet::new();
    for (name, value) in member_values(&text)? {
        match name.as_ref() {
            "resourceType" => parts.resource_type = serde_json::from_slice(value).ok()?,
            "type" => parts.kind = serde_json::from_slice(value).ok()?,
            "link" if value != b"null" => parts.links = serde_json::from_slice(value).ok()?,
            "entry" if value != b"null" => {
                parts.resources = elements(value)?.into_iter().map(resource_of).collect();
            }
            "link" | "entry" => {}
            _ => continue,
        }
        if !seen.insert(name) {
            return None;
        }
    }
    Some(parts)
}

fn resource_of(entry: &[u8]) -> Entry {
    text_of(entry)
        .map_err(|reason| (reason, Bytes::new()))
        .and_then(|text| judge(Bytes::copy_from_slice(text)))
}

/// The text of an entry's resource, which is JSON.
fn text_of(entry: &[u8]) -> Result<&[u8], RejectReason> {
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
    whole.map(|_| *text).map_err(|_| blame(text))
}

fn blame(text: &[u8]) -> RejectReason {
    match std::str::from_utf8(text) {
        Ok(_) => RejectReason::Syntax,
        Err(_) => RejectReason::Encoding,
    }
}

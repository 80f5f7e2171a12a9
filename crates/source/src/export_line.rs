//! What a line of an export's file says: a resource, what has gone, or what the source
//! has to tell.

use std::fmt;

use bytes::Bytes;
use model::{RawResource, RejectReason};
use serde::Deserialize;
use url::Url;

use crate::page::type_of;
use crate::parts;
use crate::reference::reference_target;

/// A line of a file of resources.
#[derive(Clone, PartialEq, Eq)]
pub enum Line {
    /// A resource.
    Resource(Box<RawResource>),
    /// An OperationOutcome, or the heading of a block of lines: neither is anybody's.
    Ignored,
    /// It is set aside.
    Rejected(RejectReason),
}

/// The issues of an OperationOutcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Issues {
    /// Of severity `error` or `fatal`, or none that can be read.
    pub errors: u64,
    /// Of a lesser one.
    pub others: u64,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    severity: Option<String>,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    method: Option<String>,
    url: Option<String>,
}

/// Reads a line of a file of resources.
#[must_use]
pub fn resource_line(line: &Bytes) -> Line {
    let is_none = |name: &str| matches!(name, "OperationOutcome" | "Parameters");
    match parts::resource(line) {
        Ok(resource) if is_none(&resource.head.resource_type) => Line::Ignored,
        Ok(resource) => Line::Resource(Box::new(resource)),
        // Neither need have an id.
        Err((_, text)) if type_of(&text).is_some_and(|name| is_none(&name)) => Line::Ignored,
        Err((reason, _)) => Line::Rejected(reason),
    }
}

/// Reads a line of a file of outcomes. One that cannot be read tells of an error.
#[must_use]
pub fn issues_line(line: &[u8]) -> Issues {
    let mut issues = Issues::default();
    let Ok(outcome) = serde_json::from_slice::<Outcome>(line) else {
        issues.errors = 1;
        return issues;
    };
    for issue in outcome.issue {
        match issue.severity.as_deref() {
            Some("warning" | "information" | "success") => issues.others += 1,
            _ => issues.errors += 1,
        }
    }
    issues
}

/// Reads a line of a file of deletions: the type and id of each resource that a source
/// at `base` says is gone. What cannot be read says nothing.
#[must_use]
pub fn deleted_line(line: &[u8], base: &Url) -> Vec<(String, String)> {
    let bundle = serde_json::from_slice::<Bundle>(line);
    let entries = bundle.map(|bundle| bundle.entry).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| entry.request)
        .filter(|request| request.method.as_deref() == Some("DELETE"))
        .filter_map(|request| reference_target(&request.url?, base))
        .collect()
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(_) => f.write_str("Resource(..)"),
            Self::Ignored => f.write_str("Ignored"),
            Self::Rejected(reason) => write!(f, "Rejected({reason:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &'static str) -> Line {
        resource_line(&Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn a_line_is_a_resource_as_the_source_wrote_it() {
        let line =
            "{ \"resourceType\" : \"Goal\", \"id\": \"1\", \"n\": 1.10, \"s\": \"a\u{2028}b\" }";
        let Line::Resource(resource) = read(line) else {
            panic!("no resource")
        };
        assert_eq!(
            resource.text,
            "{\"resourceType\":\"Goal\",\"id\":\"1\",\"n\":1.10,\"s\":\"a\u{2028}b\"}"
        );
    }

    #[test]
    fn lines_that_are_no_resources() {
        use RejectReason as R;
        for (line, expected) in [
            (
                r#"{"resourceType":"OperationOutcome","issue":[]}"#,
                Line::Ignored,
            ),
            (
                r#"{"resourceType":"Parameters","parameter":[]}"#,
                Line::Ignored,
            ),
            (
                r#"{"resourceType":"Goal","id":"1""#,
                Line::Rejected(R::Syntax),
            ),
            (r#"{"resourceType":"Goal"}"#, Line::Rejected(R::Id)),
            (
                r#"{"resourceType":"Goal","id":"1","x":{"a":1,"a":2}}"#,
                Line::Rejected(R::DuplicateKey),
            ),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        let broken = resource_line(&Bytes::from_static(
            b"{\"resourceType\":\"Goal\",\"id\":\"\xff\"}",
        ));
        assert_eq!(broken, Line::Rejected(R::Encoding));
    }

    #[test]
    fn issues_are_counted_by_severity() {
        let line = br#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"x"},{"severity":"warning"},{"severity":"information"},{"code":"y"}]}"#;
        assert_eq!(
            issues_line(line),
            Issues {
                errors: 2,
                others: 2
            }
        );
        assert_eq!(issues_line(b"<html>").errors, 1);
    }

    #[test]
    fn deletions_are_named_by_their_urls() {
        let base = "https://ehr.example/fhir".parse().unwrap();
        let line = br#"{"resourceType":"Bundle","type":"transaction","entry":[
            {"request":{"method":"DELETE","url":"Goal/1"}},
            {"request":{"method":"DELETE","url":"https://ehr.example/fhir/Flag/2"}},
            {"request":{"method":"PUT","url":"Goal/3"}},
            {"request":{"method":"DELETE","url":"Goal?identifier=4"}},{}]}"#;
        let named = |name: &str, id: &str| (name.to_owned(), id.to_owned());
        assert_eq!(
            deleted_line(line, &base),
            [named("Goal", "1"), named("Flag", "2")]
        );
        assert!(deleted_line(b"{}", &base).is_empty());
    }
}

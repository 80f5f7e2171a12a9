//! Where the URL of an attachment leads, seen from the source's base.

use std::fmt;

use url::Url;

use crate::base::{Base, encode};
use crate::error::Error;
use crate::reference::reference_target;

/// A longer URL is none.
const URL_BYTES_MAX: usize = 8_192;

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

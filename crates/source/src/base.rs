//! The base URL of a source: what is under it, what has its origin, and the
//! identity that ids hang on.
//!
//! Invariant: every URL that is requested was built here or passed
//! [`Base::resolve`].

use std::fmt::Write as _;
use std::sync::Arc;

use url::Url;

use crate::error::{Error, Host};

/// A source's base URL, checked.
#[derive(Clone)]
pub(crate) struct Base {
    /// The host that errors name.
    pub(crate) host: Host,
    /// The base URL, without a trailing slash.
    text: String,
    url: Url,
}

impl Base {
    pub(crate) fn new(url: &Url) -> Result<Self, Error> {
        let config = |what| Err(Error::Config { what });
        if !matches!(url.scheme(), "http" | "https") {
            return config("its base URL must begin with https:// or http://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return config("its base URL must not contain credentials");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return config("its base URL must not contain a query or a fragment");
        }
        Ok(Self {
            host: authority(url).into(),
            text: url.as_str().trim_end_matches('/').to_owned(),
            url: url.clone(),
        })
    }

    /// The base of a URL whose path does not matter.
    pub(crate) fn of_origin(url: &Url) -> Result<Self, Error> {
        let mut origin = url.clone();
        origin.set_path("");
        origin.set_query(None);
        origin.set_fragment(None);
        Self::new(&origin)
    }

    /// `[base]/rest`.
    pub(crate) fn join(&self, rest: &str) -> String {
        format!("{}/{rest}", self.text)
    }

    /// Same scheme, host and port; the path may differ, as links of the field do.
    pub(crate) fn is_same_origin(&self, url: &Url) -> bool {
        url.scheme() == self.url.scheme()
            && url.host() == self.url.host()
            && url.port_or_known_default() == self.url.port_or_known_default()
    }

    /// The URL a link names, seen from the page it stood on.
    pub(crate) fn resolve(&self, link: &str, page: &Url) -> Result<Url, Error> {
        let link = link.trim();
        if link.is_empty() {
            return Err(self.protocol("a link without a URL"));
        }
        let mut url = page
            .join(link)
            .map_err(|_| self.protocol("a link that is no URL"))?;
        if !self.is_same_origin(&url) {
            return Err(Error::ForeignLink {
                host: Arc::clone(&self.host),
            });
        }
        // Credentials in a link would replace ours.
        let cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
        url.set_fragment(None);
        if cleared {
            Ok(url)
        } else {
            Err(self.protocol("a link that is no URL"))
        }
    }

    /// A cursor that was saved earlier.
    pub(crate) fn parse(&self, cursor: &str) -> Result<Url, Error> {
        self.resolve(cursor, &self.url)
    }

    pub(crate) fn protocol(&self, what: &'static str) -> Error {
        Error::Protocol {
            host: Arc::clone(&self.host),
            what,
        }
    }
}

/// The identity of a source: `host[:port]/path`, fixed when the source is made.
/// Ids are derived from it, so two grants to one server agree.
///
/// The scheme is dropped, and so are a default port, a trailing slash, query,
/// fragment and credentials; the host is in lower case (an international name in
/// its ASCII form); the path keeps its case, since servers tell tenants apart by
/// it.
///
/// ```
/// # use chartlift_source::identity;
/// let base = "HTTPS://EHR.Example:443/FHIR/R4/".parse().unwrap();
/// assert_eq!(identity(&base), "ehr.example/FHIR/R4");
/// ```
#[must_use]
pub fn identity(base_url: &Url) -> String {
    format!(
        "{}{}",
        authority(base_url),
        base_url.path().trim_end_matches('/')
    )
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Undoes percent-encoding; a text where that gives no UTF-8 stays as it is.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (*first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (byte, ..) => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn identity_is_normalised() {
        for (base, expected) in [
            ("https://EHR.example:443/FHIR/R4/", "ehr.example/FHIR/R4"),
            ("http://ehr.example:80/FHIR/R4", "ehr.example/FHIR/R4"),
            ("https://ehr.example:8443", "ehr.example:8443"),
            ("https://ehr.example/", "ehr.example"),
            ("https://ehr.example/a/../b//", "ehr.example/b"),
            ("https://user:secret@ehr.example/b?x=1#y", "ehr.example/b"),
            ("http://[::1]:8080/fhir", "[::1]:8080/fhir"),
            ("https://bücher.example/fhir", "xn--bcher-kva.example/fhir"),
        ] {
            assert_eq!(identity(&url(base)), expected, "{base}");
        }
    }

    #[test]
    fn links_resolve_within_the_origin_only() {
        let base = Base::new(&url("https://ehr.example/fhir/r4")).unwrap();
        let page = url("https://ehr.example/fhir/r4/Observation?patient=1");
        for (link, expected) in [
            (
                "https://ehr.example/fhir/R4/Observation?page=2",
                "https://ehr.example/fhir/R4/Observation?page=2",
            ),
            (
                "https://EHR.example:443/fhir?_getpages=a",
                "https://ehr.example/fhir?_getpages=a",
            ),
            (
                "/fhir/r4?_getpages=a&x=%2C",
                "https://ehr.example/fhir/r4?_getpages=a&x=%2C",
            ),
            (
                "Observation?page=2#x",
                "https://ehr.example/fhir/r4/Observation?page=2",
            ),
            ("?page=2", "https://ehr.example/fhir/r4/Observation?page=2"),
            ("https://user:pass@ehr.example/x", "https://ehr.example/x"),
        ] {
            assert_eq!(
                base.resolve(link, &page).unwrap().as_str(),
                expected,
                "{link}"
            );
        }
        for foreign in [
            "http://ehr.example/fhir/r4/Observation?page=2",
            "https://ehr.example:8443/x",
            "https://ehr.example.evil/x",
            "https://ehr.example@evil/x",
            "//evil/x",
            "ftp://ehr.example/x",
            "javascript:1",
        ] {
            assert!(
                matches!(base.resolve(foreign, &page), Err(Error::ForeignLink { .. })),
                "{foreign}"
            );
        }
        for broken in ["", "  ", "https://"] {
            assert!(
                matches!(base.resolve(broken, &page), Err(Error::Protocol { .. })),
                "{broken}"
            );
        }
    }

    #[test]
    fn encoding_round_trips() {
        for id in ["a b/c?d&e=f#g%h+i,é\u{2028}", "100%", "%zz", "-._~"] {
            assert_eq!(decode(&encode(id)), id);
        }
        assert_eq!(encode("a/é"), "a%2F%C3%A9");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%ff"), "%ff");
    }

    #[test]
    fn a_base_url_is_checked() {
        for bad in [
            "ftp://x/",
            "https://u@x/",
            "https://u:p@x/",
            "https://x/?a=1",
            "https://x/#f",
            "mailto:x",
        ] {
            assert!(
                matches!(Base::new(&url(bad)), Err(Error::Config { .. })),
                "{bad}"
            );
        }
    }
}

//! Media types: what of a `Content-Type` counts, and lists of those that are taken.

/// What servers say that do not know what they serve.
pub const OCTETS: &str = "application/octet-stream";

/// A longer one is none.
const LENGTH_MAX: usize = 127;

/// The type and subtype of a `Content-Type`, in lower case and without parameters;
/// none where it has not that form.
///
/// ```
/// # use chartlift_model::media_type;
/// assert_eq!(media_type("Text/HTML; charset=utf-8").as_deref(), Some("text/html"));
/// assert_eq!(media_type("a document"), None);
/// ```
#[must_use]
pub fn media_type(text: &str) -> Option<String> {
    let name = text.split(';').next().unwrap_or_default().trim();
    let (kind, subtype) = name.split_once('/')?;
    let is_token = |word: &str| {
        let of_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        !word.is_empty() && word.bytes().all(of_token)
    };
    (name.len() <= LENGTH_MAX && is_token(kind) && is_token(subtype))
        .then(|| name.to_ascii_lowercase())
}

/// A list of media types: `text/plain`; `text/*` and `application/vnd.*`, all that
/// begin so; `*/*`, all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaTypes(Vec<String>);

impl MediaTypes {
    /// A list of these patterns.
    #[must_use]
    pub fn new(patterns: &[impl AsRef<str>]) -> Self {
        let lower = |pattern: &str| pattern.trim().to_ascii_lowercase();
        let patterns = patterns.iter().map(|pattern| lower(pattern.as_ref()));
        Self(patterns.collect())
    }

    /// Whether a media type, as [`media_type`] gives it, is in the list.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.as_str() {
            "*/*" => true,
            pattern => match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_count() {
        for (text, expected) in [
            ("application/pdf", Some("application/pdf")),
            (" TEXT/plain ;charset=utf-8", Some("text/plain")),
            ("application/fhir+json", Some("application/fhir+json")),
            ("text/", None),
            ("/plain", None),
            ("text", None),
            ("text/plain html", None),
            ("text/*", None),
            ("", None),
            ("te/xt/plain", None),
        ] {
            assert_eq!(media_type(text).as_deref(), expected, "{text}");
        }
        assert_eq!(media_type(&format!("text/{}", "x".repeat(200))), None);
    }

    #[test]
    fn a_list_has_names_beginnings_or_all() {
        let list = MediaTypes::new(&["text/*", "Application/PDF", "application/vnd.ms-*"]);
        for (name, is_in) in [
            ("text/html", true),
            ("application/pdf", true),
            ("application/pdfx", false),
            ("application/vnd.ms-excel", true),
            ("application/zip", false),
            ("textual/x", false),
        ] {
            assert_eq!(list.has(name), is_in, "{name}");
        }
        assert!(MediaTypes::new(&["*/*"]).has("application/zip"));
        assert!(!MediaTypes::new(&[""; 0]).has("text/plain"));
    }
}

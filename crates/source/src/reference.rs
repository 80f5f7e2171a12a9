//! Which resource of the same source a reference names.

use model::is_resource_type;
use url::Url;

use crate::base::{decode, identity};

/// The type and id a reference names, where that is a resource under `base`:
/// `Type/id`, `Type/id/_history/v`, or either behind the base URL itself.
///
/// `None` for contained resources (`#x`), `urn:`, conditional references
/// (`Type?…`), canonical fragments, other servers and plain words. Of an absolute
/// reference the scheme and the case of the path do not count: servers behind a
/// proxy write either, and what is read is asked for under `base`
/// in any case.
///
/// ```
/// # use chartlift_source::reference_target;
/// let base = "https://ehr.example/fhir".parse().unwrap();
/// let target = |reference| reference_target(reference, &base);
/// assert_eq!(target("Location/7/_history/2"), Some(("Location".into(), "7".into())));
/// assert_eq!(target("https://ehr.example/fhir/Location/7"), Some(("Location".into(), "7".into())));
/// assert_eq!(target("#7"), None);
/// ```
#[must_use]
pub fn reference_target(reference: &str, base: &Url) -> Option<(String, String)> {
    if reference.contains(['?', '#']) {
        return None;
    }
    let local = if reference.contains("://") {
        let own = identity(base);
        let url = Url::parse(reference)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let named = identity(&url);
        if !named.get(..own.len())?.eq_ignore_ascii_case(&own) {
            return None;
        }
        named[own.len()..].strip_prefix('/')?.to_owned()
    } else {
        reference.to_owned()
    };
    type_and_id(&local)
}

/// Reads `Type/id[/_history/v]`.
pub(crate) fn type_and_id(local: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = local.split('/').collect();
    let (resource_type, id) = match parts.as_slice() {
        [resource_type, id] => (*resource_type, *id),
        [resource_type, id, "_history", version] if !version.is_empty() => (*resource_type, *id),
        _ => return None,
    };
    (is_resource_type(resource_type) && !id.is_empty())
        .then(|| (resource_type.to_owned(), decode(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_the_field() {
        let base = "https://ehr.example/fhir/r4/".parse().unwrap();
        let long = "e".repeat(130);
        let long_reference = format!("Patient/{long}");
        for (reference, expected) in [
            ("Patient/1", Some(("Patient", "1"))),
            (long_reference.as_str(), Some(("Patient", long.as_str()))),
            ("Patient/a b|c", Some(("Patient", "a b|c"))),
            ("Patient/a%20b", Some(("Patient", "a b"))),
            ("Patient/1/_history/3", Some(("Patient", "1"))),
            (
                "https://ehr.example/fhir/r4/Patient/1",
                Some(("Patient", "1")),
            ),
            (
                "https://EHR.example:443/fhir/r4/Patient/1/_history/3",
                Some(("Patient", "1")),
            ),
            (
                "https://ehr.example/fhir/R4/Patient/1",
                Some(("Patient", "1")),
            ),
            (
                "http://ehr.example/fhir/r4/Patient/1",
                Some(("Patient", "1")),
            ),
            (
                "https://ehr.example/fhir/r4/Patient/a%2Fb",
                Some(("Patient", "a/b")),
            ),
            ("https://ehr.example/fhir/r44/Patient/1", None),
            ("https://ehr.example/fhir/Patient/1", None),
            ("https://ehr.example:8443/fhir/r4/Patient/1", None),
            ("https://other.example/fhir/r4/Patient/1", None),
            ("https://ehr.example/fhir/r4/../x/Patient/1", None),
            ("http://terminology.hl7.org/CodeSystem/v3-NullFlavor", None),
            ("#contained", None),
            ("Patient/1#part", None),
            ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", None),
            ("urn:oid:1.2.3", None),
            ("Practitioner?identifier=x|1", None),
            ("none", None),
            ("", None),
            ("/Patient/1", None),
            ("Patient/", None),
            ("Patient/1/", None),
            ("patient/1", None),
            ("Patient/1/_history/", None),
            ("Patient/1/$everything", None),
            ("fhir/r4/Patient/1", None),
            ("ftp://ehr.example/fhir/r4/Patient/1", None),
            ("https://é", None),
        ] {
            let expected = expected.map(|(t, id)| (t.to_owned(), id.to_owned()));
            assert_eq!(reference_target(reference, &base), expected, "{reference}");
        }
    }
}

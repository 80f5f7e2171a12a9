//! Whether a copy of a resource carries less than the resource: a portal that hides
//! elements from this client, or a server that was asked for a part.

use crate::json::{elements, find, member, unescape, value_end};

/// Codes of `v3-ObservationValue` by which a server says that it took something out:
/// subsetted, masked, redacted, anonymised, pseudonymised, abstracted.
const LABELS: [&str; 6] = [
    "SUBSETTED",
    "MASKED",
    "REDACTED",
    "ANONYED",
    "PSEUDED",
    "ABSTRED",
];
/// What all of these end with in JSON.
const LABELS_END: &[u8] = b"ED\"";
/// The code system of the labels, under each of its names.
const LABEL_SYSTEM: &str = "ObservationValue";

/// The two ways to write the extension that says that an element is hidden.
const HIDDEN_ELEMENT: [&[u8]; 2] = [
    br#""url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked""#,
    br#""valueCode":"masked","url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason""#,
];

/// Whether the compact text of a resource says that it is not the whole: a label
/// (`meta.security`) or tag that means so, or an element whose absence has the
/// reason `masked`.
///
/// ```
/// # use chartlift_model::is_masked;
/// assert!(is_masked(br#"{"meta":{"tag":[{"code":"SUBSETTED"}]},"id":"1"}"#));
/// assert!(!is_masked(br#"{"meta":{"tag":[{"code":"actionable"}]},"id":"1"}"#));
/// ```
#[must_use]
pub fn is_masked(text: &[u8]) -> bool {
    is_labelled(text) || hides_an_element(text)
}

fn is_labelled(text: &[u8]) -> bool {
    // Nearly every resource ends here.
    if find(text, LABELS_END).is_none() {
        return false;
    }
    let Some(meta) = member(text, "meta") else {
        return false;
    };
    ["security", "tag"]
        .into_iter()
        .filter_map(|name| member(meta, name))
        .flat_map(|codings| elements(codings).unwrap_or_default())
        .any(is_label)
}

/// Whether a Coding is one of the labels.
fn is_label(coding: &[u8]) -> bool {
    let text = |name: &str| unescape(member(coding, name)?);
    let is_ours = text("system").is_none_or(|system| system.contains(LABEL_SYSTEM));
    is_ours && text("code").is_some_and(|code| LABELS.contains(&code.as_ref()))
}

fn hides_an_element(text: &[u8]) -> bool {
    if find(text, b"\"masked\"").is_none() {
        return false;
    }
    HIDDEN_ELEMENT
        .iter()
        .any(|written| find(text, written).is_some())
        || has_masked_reason(text)
}

/// Whether a `dataAbsentReason`, which observations and their components have, says
/// so.
fn has_masked_reason(text: &[u8]) -> bool {
    const NAME: &[u8] = b"\"dataAbsentReason\":";
    let mut at = 0;
    while let Some(found) = find(&text[at..], NAME) {
        let start = at + found + NAME.len();
        let Some(end) = value_end(text, start) else {
            return false;
        };
        if find(&text[start..end], b"\"code\":\"masked\"").is_some() {
            return true;
        }
        at = end;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_hidden_elements_are_found_and_nothing_else() {
        let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
        for (text, expected) in [
            (
                format!(r#"{{"id":"1","meta":{{"tag":[{{"code":"x"}},{{"system":"{system}","code":"SUBSETTED"}}]}}}}"#),
                true,
            ),
            (
                format!(r#"{{"meta":{{"security":[{{"system":"{system}","code":"REDACTED"}}]}}}}"#),
                true,
            ),
            // Another system's word, a word elsewhere, and a label of another kind.
            (
                r#"{"meta":{"tag":[{"system":"urn:mine","code":"MASKED"}]}}"#.to_owned(),
                false,
            ),
            (r#"{"code":{"coding":[{"code":"MASKED"}]}}"#.to_owned(), false),
            (
                r#"{"meta":{"security":[{"code":"R"}]},"note":"REDACTED"}"#.to_owned(),
                false,
            ),
            (
                r#"{"_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}}"#.to_owned(),
                true,
            ),
            (
                r#"{"_birthDate":{"extension":[{"valueCode":"masked","url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason"}]}}"#.to_owned(),
                true,
            ),
            (
                r#"{"_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]},"x":"masked"}"#.to_owned(),
                false,
            ),
            (
                r#"{"component":[{"dataAbsentReason":{"coding":[{"code":"unknown"}]}},{"dataAbsentReason":{"coding":[{"code":"masked"}]}}]}"#.to_owned(),
                true,
            ),
            (
                r#"{"dataAbsentReason":{"coding":[{"code":"unknown"}]},"code":{"coding":[{"code":"masked"}]}}"#.to_owned(),
                false,
            ),
            (String::new(), false),
            (r#"{"meta":"MASKED","dataAbsentReason":"masked""#.to_owned(), false),
        ] {
            assert_eq!(is_masked(text.as_bytes()), expected, "{text}");
        }
    }
}

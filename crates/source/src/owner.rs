//! Whose a resource is, by what it says itself: an answer that should hold one
//! patient's record may hold more.

use model::{RawResource, member_values, references};
use url::Url;

use crate::reference::reference_target;

/// The members that name whose a resource is, before all other references in it: a
/// mother may stand as the performer in a record that is her child's.
const SUBJECTS: [&str; 4] = ["patient", "subject", "beneficiary", "individual"];

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The patient's.
    Own,
    /// Another patient's.
    Other,
    /// It names no patient.
    Unnamed,
}

/// Whose `resource` is, seen from the patient with this id at the server at `base`.
#[must_use]
pub fn owner_of(resource: &RawResource, patient_id: &str, base: &Url) -> Owner {
    if resource.head.resource_type == "Patient" {
        return if resource.head.id == patient_id {
            Owner::Own
        } else {
            Owner::Other
        };
    }
    let subjects = member_values(&resource.text).unwrap_or_default();
    let of_subjects = subjects
        .iter()
        .filter(|(name, _)| SUBJECTS.contains(&name.as_ref()))
        .map(|(_, value)| named(value, patient_id, base))
        .reduce(or);
    match of_subjects {
        Some(owner @ (Owner::Own | Owner::Other)) => owner,
        Some(Owner::Unnamed) | None => named(&resource.text, patient_id, base),
    }
}

/// Whom the references in a text name.
fn named(text: &[u8], patient_id: &str, base: &Url) -> Owner {
    references(text)
        .filter_map(|reference| reference_target(&reference, base))
        .filter(|(resource_type, _)| resource_type == "Patient")
        .map(|(_, id)| {
            if id == patient_id {
                Owner::Own
            } else {
                Owner::Other
            }
        })
        .reduce(or)
        .unwrap_or(Owner::Unnamed)
}

/// Two that are named: the patient counts before others.
fn or(a: Owner, b: Owner) -> Owner {
    match (a, b) {
        (Owner::Own, _) | (_, Owner::Own) => Owner::Own,
        (Owner::Other, _) | (_, Owner::Other) => Owner::Other,
        _ => Owner::Unnamed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{content_hash, read_head};

    use super::*;

    fn owner(text: &'static str) -> Owner {
        let text = Bytes::from_static(text.as_bytes());
        let resource = RawResource {
            head: read_head(&text).unwrap(),
            hash: content_hash(&text),
            text,
        };
        let base = "https://ehr.example/fhir".parse().unwrap();
        owner_of(&resource, "p", &base)
    }

    #[test]
    fn a_resource_is_its_subjects() {
        for (text, expected) in [
            (r#"{"resourceType":"Patient","id":"p"}"#, Owner::Own),
            (
                r#"{"resourceType":"Patient","id":"q","link":[{"other":{"reference":"Patient/p"}}]}"#,
                Owner::Other,
            ),
            (
                r#"{"resourceType":"Flag","id":"1","subject":{"reference":"https://ehr.example/fhir/Patient/p"}}"#,
                Owner::Own,
            ),
            // The mother performs; the record is her child's.
            (
                r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/q"},"performer":[{"reference":"Patient/p"}]}"#,
                Owner::Other,
            ),
            (
                r#"{"resourceType":"Coverage","id":"1","beneficiary":{"reference":"Patient/p"},"subscriber":{"reference":"Patient/q"}}"#,
                Owner::Own,
            ),
            (
                r#"{"resourceType":"Provenance","id":"1","target":[{"reference":"Patient/q"},{"reference":"Patient/p"}]}"#,
                Owner::Own,
            ),
            (
                r#"{"resourceType":"Provenance","id":"1","target":[{"reference":"Patient/q"}]}"#,
                Owner::Other,
            ),
            // A subject that is no patient, or of another server, names none.
            (
                r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Location/l"}}"#,
                Owner::Unnamed,
            ),
            (
                r#"{"resourceType":"Observation","id":"1","subject":{"reference":"https://other.example/Patient/p"}}"#,
                Owner::Unnamed,
            ),
            (r#"{"resourceType":"Specimen","id":"1"}"#, Owner::Unnamed),
        ] {
            assert_eq!(owner(text), expected, "{text}");
        }
    }
}

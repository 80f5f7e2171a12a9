//! What a text is that `extract::text` lets through, as a pattern.

use utoipa::openapi::{Components, RefOr, Schema};

/// The bodies whose members of at least one character are such texts.
const BODIES: &[&str] = &[
    "GrantBody",
    "LoginBody",
    "NewConnectionBody",
    "NewDestinationBody",
    "NewKeyBody",
    "NewPatient",
    "NewSourceBody",
    "ReconnectBody",
];

/// No control characters, and no white space at either end. Spelled out, since
/// dialects of regular expressions differ in what white space is.
const TEXT: &str = concat!(
    r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"([^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?$"
);

/// Adds the pattern to the members of bodies.
pub(super) fn add(components: &mut Components) {
    for body in BODIES {
        let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(*body) else {
            continue;
        };
        for member in body.properties.values_mut() {
            if let RefOr::T(Schema::Object(member)) = member
                && member.min_length == Some(1)
            {
                member.pattern = Some(TEXT.to_owned());
            }
        }
    }
}

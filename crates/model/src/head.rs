//! The head of a resource, read from its text: its type and id, and what `meta` says of
//! its version.

use std::borrow::Cow;

use crate::json::{key_is, members, unescape};
use crate::resource::{Head, RejectReason, is_resource_type};

/// Reads the head of a compact resource.
///
/// # Errors
/// The reason why the text cannot be kept as a resource.
pub fn read_head(text: &[u8]) -> Result<Head, RejectReason> {
    let members = members(text, 0).ok_or(RejectReason::NotAnObject)?;
    let only = |name: &str, reason: RejectReason| {
        let mut named = members
            .iter()
            .filter(|member| key_is(text, &member.key, name));
        let first = named.next().ok_or(reason)?;
        if named.next().is_some() {
            return Err(reason);
        }
        unescape(&text[first.value.clone()]).ok_or(reason)
    };
    let resource_type = only("resourceType", RejectReason::ResourceType)?;
    if !is_resource_type(&resource_type) {
        return Err(RejectReason::ResourceType);
    }
    let id = only("id", RejectReason::Id)?;
    if id.is_empty() {
        return Err(RejectReason::Id);
    }
    let meta = members
        .iter()
        .find(|member| key_is(text, &member.key, "meta"));
    let meta_text = |name: &str| {
        let inner = self::members(text, meta?.value.start)?;
        let member = inner
            .into_iter()
            .find(|member| key_is(text, &member.key, name))?;
        unescape(&text[member.value]).map(Cow::into_owned)
    };
    Ok(Head {
        version_id: meta_text("versionId"),
        last_updated: meta_text("lastUpdated"),
        resource_type: resource_type.into_owned(),
        id: id.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_reads_what_is_there_and_refuses_the_rest() {
        let head = read_head(
            br#"{"meta":{"versionId":"3","x":{"id":"no"}},"resourceType":"Patient","id":"a\"b"}"#,
        )
        .unwrap();
        assert_eq!(
            (
                head.id.as_str(),
                head.version_id.as_deref(),
                head.last_updated
            ),
            ("a\"b", Some("3"), None)
        );
        assert_eq!(read_head(br#"{"id":"1"}"#), Err(RejectReason::ResourceType));
        assert_eq!(
            read_head(br#"{"resourceType":"../x","id":"1"}"#),
            Err(RejectReason::ResourceType)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":""}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":"1","id":"2"}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(
            read_head(br#"{"resourceType":"Patient","id":1}"#),
            Err(RejectReason::Id)
        );
        assert_eq!(read_head(b"[1]"), Err(RejectReason::NotAnObject));
        assert_eq!(read_head(b"{\"a\":"), Err(RejectReason::NotAnObject));
    }
}

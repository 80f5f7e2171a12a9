//! Links: what `self` tells of the search, where `next` may lead, and the hash of a
//! cursor.

use chartlift_source::{Error, cursor_hash};

use super::{searchset, split};

/// What the server has not used is not in its `self` link.
#[test]
fn the_self_link_says_whether_the_search_was_by_last_updated() {
    for (link, expected) in [
        (
            r#"{"relation":"self","url":"https://ehr.example/fhir/Goal?patient=1&_lastUpdated=ge2024-01-02T00:00:00Z"}"#,
            true,
        ),
        (
            r#"{"relation":"SELF","url":"Goal?%5FlastUpdated=ge2024"}"#,
            true,
        ),
        (r#"{"relation":"self","url":"Goal?patient=1"}"#, false),
        (r#"{"relation":"self","url":"Goal?_lastUpdated="}"#, false),
        (r#"{"relation":"self","url":"Goal?x=_lastUpdated"}"#, false),
        (r#"{"relation":"self"}"#, false),
        (
            r#"{"relation":"first","url":"Goal?_lastUpdated=ge2024"}"#,
            false,
        ),
    ] {
        let page = split(searchset(&format!(r#","link":[{link}]"#))).unwrap();
        assert_eq!(page.is_by_last_updated, expected, "{link}");
    }
    assert!(!split(searchset("")).unwrap().is_by_last_updated);
}

#[test]
fn next_links_are_resolved_and_stay_at_home() {
    let next = |url: &str| {
        split(searchset(&format!(
            r#","link":[{{"relation":"self","url":"x"}},{{"relation":"next","url":"{url}"}}]"#
        )))
    };
    for (url, expected) in [
        (
            "https://ehr.example/fhir?_getpages=1",
            "https://ehr.example/fhir?_getpages=1",
        ),
        (
            "https://ehr.example/FHIR/Observation?sessionID=12-BED0",
            "https://ehr.example/FHIR/Observation?sessionID=12-BED0",
        ),
        (
            "https:\\/\\/ehr.example\\/fhir?a=b",
            "https://ehr.example/fhir?a=b",
        ),
        ("/fhir?_getpages=1", "https://ehr.example/fhir?_getpages=1"),
        (
            "?cursor=a-80000.resultamb-3223",
            "https://ehr.example/fhir/Observation?cursor=a-80000.resultamb-3223",
        ),
    ] {
        assert_eq!(next(url).unwrap().next.as_deref(), Some(expected));
    }
    for url in [
        "https://other.example/fhir?_getpages=1",
        "http://ehr.example/fhir?_getpages=1",
    ] {
        assert!(matches!(next(url), Err(Error::ForeignLink { .. })), "{url}");
    }
}

#[test]
fn a_cursor_hash_never_changes() {
    assert_eq!(
        cursor_hash("https://ehr.example/fhir?a=1"),
        cursor_hash("https://ehr.example/fhir?a=1")
    );
    assert_ne!(
        cursor_hash("https://ehr.example/fhir?a=1"),
        cursor_hash("https://ehr.example/fhir?a=2")
    );
    assert_eq!(
        cursor_hash(""),
        u64::from_le_bytes([0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14])
    );
}

//! Pages: every token as the source wrote it, and nothing that is no searchset
//! taken for a page without results.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;

use bytes::Bytes;
use chartlift_source::{Error, Page, cursor_hash, split_page};
use model::RejectReason;
use url::Url;

fn request() -> Url {
    "https://ehr.example/fhir/Observation?patient=1"
        .parse()
        .unwrap()
}

fn split(body: impl Into<Bytes>) -> Result<Page, Error> {
    split_page(&body.into(), &request())
}

fn searchset(rest: &str) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"searchset"{rest}}}"#)
}

fn texts(page: &Page) -> Vec<&str> {
    page.resources
        .iter()
        .map(|resource| std::str::from_utf8(&resource.text).unwrap())
        .collect()
}

#[test]
fn an_indented_page_keeps_every_token() {
    let long = "e".repeat(130);
    let body = format!(
        "\u{FEFF}{{\n \"entry\": [\n  {{ \"resource\": {{\r\n   \"resourceType\" : \"Observation\",\n\t\"value\": [ 1.10, 500.000000, 1E-2, -0.0, \
         123456789012345678901234567890.5 ],\n   \"id\": \"{long}\",\n   \"text\": \"a  \\\"b\\\" \\u00e9 \u{e9}\u{2028} \\ud83d\\ude00 \\/\",\n   \
         \"_given\": [ null, {{ \"x\" : {{ }} }} ]\n  }}, \"search\": {{\"mode\":\"match\"}} }}\n ],\n \"type\": \"searchset\", \"resourceType\": \"Bundle\"\n}}\n"
    );
    let page = split(body.clone()).unwrap();
    let expected = format!(
        "{{\"resourceType\":\"Observation\",\"value\":[1.10,500.000000,1E-2,-0.0,123456789012345678901234567890.5],\"id\":\"{long}\",\
         \"text\":\"a  \\\"b\\\" \\u00e9 \u{e9}\u{2028} \\ud83d\\ude00 \\/\",\"_given\":[null,{{\"x\":{{}}}}]}}"
    );
    assert_eq!(texts(&page), [expected.as_str()]);
    assert_eq!(page.resources[0].head.id, long);
    assert_eq!(page.bytes, body.len() as u64);
    assert_eq!(page.next, None);

    let compact = split(searchset(&format!(
        r#","entry":[{{"resource":{expected}}}]"#
    )))
    .unwrap();
    assert_eq!(compact.resources, page.resources);
}

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
fn a_compact_page_is_not_copied() {
    let body = Bytes::from(searchset(
        r#","entry":[{"resource":{"resourceType":"Goal","id":"g"}}]"#,
    ));
    let page = split_page(&body, &request()).unwrap();
    assert!(
        body.as_ptr_range()
            .contains(&page.resources[0].text.as_ptr())
    );
}

#[test]
fn unusable_entries_are_counted_and_harm_no_other() {
    let page = split(searchset(
        r#","entry":[{"fullUrl":"x"},{"resource":{"id":"1"}},{"resource":{"resourceType":"Goal"}},{"resource":null},
           {"resource":"text"},{"resource":{"resourceType":"Goal","id":"a","id":"b"}},
           {"resource":{"resourceType":"Practitioner","id":"p"},"search":{"mode":"include"}},
           {"resource":{"resourceType":"Goal","id":"g"}}]"#,
    ))
    .unwrap();
    assert_eq!(
        texts(&page),
        [
            r#"{"resourceType":"Practitioner","id":"p"}"#,
            r#"{"resourceType":"Goal","id":"g"}"#
        ]
    );
    assert_eq!(
        (page.rejected, page.ignored, page.suppressed),
        (6, 0, false)
    );
}

#[test]
fn depth_is_no_danger() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let page = split(searchset(&format!(
        r#","x":{deep},"entry":[{{"resource":{{"resourceType":"Goal","id":"g","x":{deep}}}}},
           {{"resource":{{"resourceType":"Goal","id":"h"}}}},
           {{"resource":{{"resourceType":"OperationOutcome","x":{deep}}}}}]"#
    )));
    let page = page.unwrap();
    assert_eq!(
        (page.resources.len(), page.ignored, page.rejected),
        (1, 1, 1)
    );
    assert_eq!(page.reasons, BTreeMap::from([(RejectReason::TooDeep, 1)]));
    assert!(!format!("{page:?}").contains("Goal"));
}

/// One broken resource costs itself alone, and the page says why.
#[test]
fn a_broken_resource_is_set_aside_alone() {
    use RejectReason as R;
    let good = r#"{"resource":{"resourceType":"Goal","id":"g"}}"#;
    for (broken, reason) in [
        (
            &br#"{"resource":{"resourceType":"Goal","id":"x",}}"#[..],
            R::Syntax,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x","y":01}}"#,
            R::Syntax,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x" "y":1}}"#,
            R::Syntax,
        ),
        (br#"{"resource":{'resourceType':"Goal"}}"#, R::Syntax),
        (
            b"{\"resource\":{\"resourceType\":\"Goal\",\"id\":\"x\",\"y\":\"\xff\"}}",
            R::Encoding,
        ),
        (
            b"{\"resource\":{\"resourceType\":\"Goal\",\"id\":\"x\",\"y\":\"a\x01b\"}}",
            R::Syntax,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x"},"resource":{}}"#,
            R::DuplicateKey,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x","a":{"b":1,"b":2}}}"#,
            R::DuplicateKey,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x","id":"y"}}"#,
            R::Id,
        ),
        (
            br#"{"resource":{"resourceType":"Goal","id":"x","y":"\ud800"}}"#,
            R::LoneSurrogate,
        ),
        (br#"{"resource":{"resourceType":"Goal"}}"#, R::Id),
        (br#"{"resource":{"id":"x"}}"#, R::ResourceType),
        (br#"{"resource":7}"#, R::NotAnObject),
        (br#"{"fullUrl":"x"}"#, R::Missing),
    ] {
        let mut body = br#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"?page=2"}], "entry": ["#.to_vec();
        body.extend_from_slice(good.as_bytes());
        body.push(b',');
        body.extend_from_slice(broken);
        body.push(b',');
        body.extend_from_slice(good.as_bytes());
        body.extend_from_slice(b" ] }");
        let shown = String::from_utf8_lossy(broken);
        let page = split(body).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(page.resources.len(), 2, "{shown}");
        assert_eq!(page.rejected, 1, "{shown}");
        assert_eq!(page.reasons, BTreeMap::from([(reason, 1)]), "{shown}");
        assert!(page.next.is_some(), "{shown}");
    }
}

/// Ids over 64 characters, odd ones, and types that R4 does not have are not broken.
#[test]
fn odd_ids_and_unknown_types_pass() {
    let long = "e".repeat(130);
    let page = split(searchset(&format!(
        r#","entry":[{{"resource":{{"resourceType":"Goal","id":"{long}"}}}},
           {{"resource":{{"resourceType":"BodyComposition","id":"a b|c/ü"}}}}]"#
    )))
    .unwrap();
    assert_eq!((page.resources.len(), page.rejected), (2, 0));
}

#[test]
fn outcomes_are_no_results() {
    let with = |issue: &str| {
        let outcome =
            format!(r#"{{"resource": {{ "resourceType":"OperationOutcome","issue":[{issue}] }}}}"#);
        let page = split(searchset(&format!(
            r#","entry":[{outcome}, {{"resource":{{"resourceType":"Goal","id":"g"}}}}]"#
        )));
        let page = page.unwrap();
        assert_eq!(
            (page.resources.len(), page.ignored, page.rejected),
            (1, 1, 0)
        );
        page.suppressed
    };
    assert!(!with(
        r#"{"severity":"warning","code":"processing","details":{"coding":[{"code":"4101"}]}}"#
    ));
    assert!(!with(
        r#"{"severity":"error","code":"incomplete","details":{"coding":[{"code":"4119"}]}}"#
    ));
    assert!(with(
        r#"{"severity":"warning","code":"processing","details":{"coding":[{"code":"59204"}]}}"#
    ));
    assert!(!with(
        r#"{"severity":"information","code":"informational"}"#
    ));
    assert!(!with(r#"{"severity":{"odd":1}}"#));
    assert!(with(
        r#"{"severity":"warning","code":"processing"},{"severity":"warning","code":"suppressed"}"#
    ));
    assert!(with(r#"{"severity":"warning","code":"incomplete"}"#));
    assert!(with(r#"{"severity":"error","code":"exception"}"#));

    let named = r#","entry":[{"resource":{"resourceType":"OperationOutcome","id":"o","issue":[{"code":"suppressed"}]}}]"#;
    let page = split(searchset(named)).unwrap();
    assert_eq!(
        (page.resources.len(), page.ignored, page.suppressed),
        (0, 1, true)
    );
}

#[test]
fn a_searchset_may_be_empty() {
    for rest in [
        "",
        r#","entry":[]"#,
        r#","entry":null,"link":null"#,
        r#","total":7"#,
    ] {
        assert_eq!(split(searchset(rest)).unwrap().resources, [], "{rest}");
    }
}

#[test]
fn what_is_no_searchset_is_an_error() {
    let whole = searchset(r#","entry":[{"resource":{"resourceType":"Goal","id":"g"}}]"#);
    for end in 0..whole.len() {
        assert!(
            matches!(
                split(String::from(&whole[..end])),
                Err(Error::Protocol { .. })
            ),
            "cut at {end}"
        );
    }
    for body in [
        "<html><body>Sign in</body></html>",
        "null",
        "[]",
        "{}",
        r#"{"resourceType":"OperationOutcome","issue":[]}"#,
        r#"{"resourceType":"Bundle"}"#,
        r#"{"resourceType":"Bundle","type":"history"}"#,
        r#"{"type":"searchset"}"#,
        r#"{"resourceType":"Bundle","type":"searchset"} {}"#,
        r#"{"resourceType":"Bundle","type":"searchset","entry":[{"fullUrl":"x"},{"resource":null}]}"#,
        r#"{"resourceType":"Bundle","type":"searchset","entry":{}}"#,
        r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Goal","id":"g"}]}"#,
        r#"{"resourceType":"Bundle","type":"searchset","entry":[],"entry":[]}"#,
        r#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next"}]}"#,
    ] {
        assert!(matches!(split(body), Err(Error::Protocol { .. })), "{body}");
    }
    assert!(matches!(
        split(&b"{\"resourceType\":\"Bundle\xff\",\"type\":\"searchset\"}"[..]),
        Err(Error::Protocol { .. })
    ));
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

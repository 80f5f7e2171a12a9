//! Entries: what is broken is set aside alone, what is odd passes, and outcomes are no
//! results.

use std::collections::BTreeMap;

use model::RejectReason;

use super::{searchset, split, texts};

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

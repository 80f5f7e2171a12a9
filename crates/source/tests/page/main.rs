//! Pages: every token as the source wrote it, and nothing that is no searchset
//! taken for a page without results.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod entries;
mod links;

use bytes::Bytes;
use chartlift_source::{Error, Page, split_page};
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

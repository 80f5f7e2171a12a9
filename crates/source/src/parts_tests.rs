//! The parts of pages against a plain reading of them by `serde_json`, for random
//! pages, with whitespace anywhere and with damage.

use std::borrow::Cow;

use bytes::Bytes;
use model::{RejectReason, compact, content_hash};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::parts::{Entry, Link, Parts, judge, parts, resource};
use crate::salvage::salvage;

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType")]
    resource_type: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    link: Option<Vec<Link>>,
    #[serde(borrow)]
    entry: Option<Vec<BundleEntry<'a>>>,
}

#[derive(Deserialize)]
struct BundleEntry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// What a page says, read by a parser that keeps no rule of ours.
fn plainly_read(body: &Bytes) -> Option<Parts> {
    let text = std::str::from_utf8(body).ok()?;
    let bundle: Bundle<'_> =
        serde_json::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(text)).ok()?;
    let judged = |entry: BundleEntry<'_>| match entry.resource {
        Some(raw) => judge(Bytes::from(compact(raw.get().as_bytes()).into_owned())),
        None => Err((RejectReason::Missing, Bytes::new())),
    };
    Some(Parts {
        resource_type: bundle.resource_type,
        kind: bundle.kind,
        links: bundle.link.unwrap_or_default(),
        resources: bundle
            .entry
            .unwrap_or_default()
            .into_iter()
            .map(judged)
            .collect(),
    })
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 += 1;
        let [a, b, c, d, ..] = content_hash(&self.0.to_le_bytes()).0;
        u32::from_le_bytes([a, b, c, d]) as usize % count
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const RESOURCES: [&str; 17] = [
    r#"{"resourceType":"Goal","id":"g"}"#,
    r#"{"resourceType":"Goal","id":"h","meta":{"versionId":"1","lastUpdated":"2024"},"n":[1.10,-0.0]}"#,
    r#"{"meta":{"profile":["p"],"versionId":"2"},"resourceType":"Observation","id":"i","text":"a \"b\" \u00e9 é"}"#,
    r#"{"resourceType":"Goal","id":"j","x":{"a":{"b":[{"c":1},{"c":2}]}},"y":" { } "}"#,
    r#"{"resourceType":"OperationOutcome","issue":[{"code":"suppressed"}]}"#,
    r#"{"resourceType":"Goal"}"#,
    r#"{"id":"k"}"#,
    r#"{"resourceType":"Goal","id":"l","x":{"a":1,"a":2}}"#,
    r#"{"resourceType":"Goal","id":"m","x":"\ud83d\ude00"}"#,
    r#"{"resourceType":"Goal","id":"n","x":"\ud800"}"#,
    r#"{"resourceType":"Goal","\u0069d":"o"}"#,
    r#"{"resourceType":"Goal","id":"p","x":[[[[[[[[[[[[]]]]]]]]]]]]}"#,
    "null",
    "7",
    r#""text""#,
    r#"{"resourceType":"Goal","id":"q","x":1 2}"#,
    r#"{"resourceType":"Goal","id":"r",}"#,
];

fn page(random: &mut Random) -> String {
    let entries: Vec<String> = (0..random.below(5))
        .map(|_| {
            let resource = random.pick(&RESOURCES[..15]);
            match random.below(12) {
                0 => r#"{"fullUrl":"urn:x"}"#.to_owned(),
                1 => format!(r#"{{"\u0072esource":{resource}}}"#),
                2 => format!(r#"{{"resource":{resource},"resource":{resource}}}"#),
                3 => format!(r#"{{"resource":{}}}"#, random.pick(&RESOURCES)),
                _ => format!(
                    r#"{{"fullUrl":"x","resource":{resource},"search":{{"mode":"match"}}}}"#
                ),
            }
        })
        .collect();
    let entries = format!(r#""entry":[{}]"#, entries.join(","));
    let link =
        r#""link":[{"relation":"self","url":"a"},{"relation":"next","url":"?page=2\u0026x"}]"#;
    let mut members = vec![
        r#""resourceType":"Bundle""#,
        r#""type":"searchset""#,
        link,
        &entries,
    ];
    let others = [
        r#""total":7"#,
        r#""meta":{"a":1,"a":2}"#,
        r#""link":null"#,
        r#""entry":null"#,
        r#""t\u0079pe":"searchset""#,
        r#""type":null"#,
        r#""type":"history""#,
    ];
    members.extend((0..random.below(3)).map(|_| random.pick(&others)));
    for _ in 0..random.below(2) {
        members.remove(random.below(members.len()));
    }
    for at in 1..members.len() {
        members.swap(at, random.below(at + 1));
    }
    format!("{{{}}}", members.join(","))
}

/// The page with whitespace between some of its tokens.
fn spaced(random: &mut Random, text: &str) -> String {
    let (mut out, mut in_string, mut is_escaped) = (String::new(), false, false);
    for char in text.chars() {
        let is_mark = !in_string && matches!(char, '{' | '}' | '[' | ']' | ',' | ':');
        let mut space = |out: &mut String| {
            if is_mark && random.below(8) == 0 {
                out.push_str(random.pick(&[" ", "\n    ", "\r\n\t"]));
            }
        };
        space(&mut out);
        out.push(char);
        space(&mut out);
        in_string = if char == '"' {
            !in_string || is_escaped
        } else {
            in_string
        };
        is_escaped = in_string && char == '\\' && !is_escaped;
    }
    out
}

fn damaged(random: &mut Random, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => drop(bytes.remove(at)),
        1 => bytes.insert(at, b"{}[]\":, \\0e\xff"[random.below(12)]),
        2 => bytes.truncate(at),
        _ => bytes[at] = b"{}[]\":, \\0e\xff"[random.below(12)],
    }
    bytes
}

/// Says whether one walk was enough.
fn check(body: impl Into<Bytes>) -> bool {
    let body = body.into();
    let shown = || String::from_utf8_lossy(&body);
    let (plain, walked) = (plainly_read(&body), parts(&body));
    let is_walked = walked.is_some();
    if is_walked {
        assert_eq!(walked, plain, "{}", shown());
    }
    if plain.is_some() {
        assert_eq!(walked.or_else(|| salvage(&body)), plain, "{}", shown());
    }
    is_walked
}

#[test]
fn a_page_says_what_a_plain_reading_says() {
    let mut random = Random(0);
    let (mut walked, mut read) = (0, 0);
    for _ in 0..4_000 {
        let text = page(&mut random);
        let body = if random.below(2) == 0 {
            text
        } else {
            spaced(&mut random, &text)
        };
        read += usize::from(plainly_read(&body.clone().into()).is_some());
        walked += usize::from(check(body.clone()));
        for _ in 0..5 {
            check(damaged(&mut random, &body));
        }
        check(format!("\u{FEFF}{body}\n"));
    }
    assert!(read > 1_000 && walked * 10 > read * 7, "{walked} of {read}");
}

/// A text of its own is judged as an entry of a page is.
#[test]
fn a_resource_alone_is_judged_as_in_a_page() {
    let mut random = Random(0);
    for text in RESOURCES {
        for _ in 0..200 {
            let spaced = spaced(&mut random, text);
            let body = if random.below(2) == 0 {
                spaced.into_bytes()
            } else {
                damaged(&mut random, &spaced)
            };
            let expected: Entry = match std::str::from_utf8(&body) {
                Err(_) => Err((RejectReason::Encoding, Bytes::new())),
                Ok(utf8) => match serde_json::from_str::<&RawValue>(utf8) {
                    Err(_) => Err((RejectReason::Syntax, Bytes::new())),
                    Ok(raw) => judge(Bytes::from(compact(raw.get().as_bytes()).into_owned())),
                },
            };
            assert_eq!(resource(&Bytes::from(body)), expected);
        }
    }
}

/// What is not JSON stays so when its whitespace is dropped.
#[test]
fn whitespace_does_not_join_what_it_parts() {
    let body = r#"{ "resourceType":"Bundle","type":"searchset","entry":[{"resource":
        {"resourceType":"Goal","id":"x","y":1 2}},{"resource":{"resourceType":"Goal","id":"g"}}]}"#;
    let body = Bytes::from_static(body.as_bytes());
    assert_eq!(parts(&body), None);
    let found = salvage(&body).unwrap().resources;
    assert_eq!(found[0], Err((RejectReason::Syntax, Bytes::new())));
    assert_eq!(found[1].as_ref().unwrap().head.id, "g");
}

/// Resources share the memory of their page, or of its one compact copy.
#[test]
fn a_page_is_copied_once_at_most() {
    let text = r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Goal","id":"g"}},{"resource":{"resourceType":"Goal","id":"h"}}]}"#;
    let texts = |body: &Bytes| -> Vec<Bytes> {
        let found = parts(body).unwrap().resources;
        found.into_iter().map(|entry| entry.unwrap().text).collect()
    };
    let body = Bytes::from(format!("{text} \n"));
    assert!(body.as_ptr_range().contains(&texts(&body)[1].as_ptr()));
    let body = Bytes::from(text.replace("},{", "} , {"));
    let [first, second] = texts(&body).try_into().unwrap();
    let apart = second.as_ptr() as usize - first.as_ptr() as usize;
    assert_eq!(apart, first.len() + r#"},{"resource":"#.len());
    assert!(matches!(compact(&body), Cow::Owned(_)));
}

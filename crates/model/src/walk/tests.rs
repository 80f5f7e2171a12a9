//! The walk against the exact rules, on random text and on what is left of it after
//! random damage.

mod random;

use serde_json::value::RawValue;

use self::random::{Random, damaged, resource, value};
use super::*;
use crate::{ContentHash, Head, RejectReason, check_sound, compact, content_hash, read_head};

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn walks_past(text: &str) -> bool {
    let mut walk = Walk::new(text);
    walk.skip().is_some() && walk.is_at_end()
}

/// What the exact rules say of the text of a resource.
fn judged(text: &str) -> Result<(Head, ContentHash), RejectReason> {
    let head = read_head(text.as_bytes())?;
    check_sound(text.as_bytes())?;
    Ok((head, content_hash(text.as_bytes())))
}

fn found(text: &str) -> Option<Found<'_>> {
    let mut walk = Walk::new(text);
    walk.resource().filter(|_| walk.is_at_end())
}

/// Says whether the walk has judged the text by itself.
fn check(text: &str) -> bool {
    // Depth is the only other reason to refuse, and these are not deep.
    let expected = is_json(text) && compact(text.as_bytes()).as_ref() == text.as_bytes();
    assert_eq!(walks_past(text), expected, "{text}");
    let found = found(text);
    assert_eq!(found.is_some(), expected, "{text}");
    let Some(found) = found else { return false };
    assert_eq!(found.text, text);
    let Some(plain) = found.plain else {
        return false;
    };
    assert_eq!(Ok(plain), judged(text), "{text}");
    true
}

#[test]
fn the_walk_says_what_the_exact_rules_say() {
    let mut random = Random(1);
    let (mut plain, mut sound) = (0, 0);
    for _ in 0..20_000 {
        let text = resource(&mut random);
        plain += usize::from(check(&text));
        sound += usize::from(judged(&text).is_ok());
        for _ in 0..4 {
            check(&damaged(&mut random, &text));
        }
        let mut text = String::new();
        value(&mut random, 4, &mut text);
        check(&text);
        check(&damaged(&mut random, &text));
    }
    // It leaves to others what is odd, and no more.
    assert!(plain * 10 > sound * 6, "{plain} of {sound}");
}

#[test]
fn numbers_and_strings_are_those_of_json() {
    for text in [
        "0",
        "-0",
        "10",
        "0.0",
        "1e5",
        "1E+05",
        "-1.50e-7",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "true",
        "tru",
        "truex",
        "nul",
        "null",
        "nulll",
        "\"\"",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u00e\"",
        "\"\\u00eg\"",
        "\"\\u00E9\"",
        "\"\\ud800\"",
        "\"\u{7f}\"",
        "\"\u{1f}\"",
        "\"\n\"",
        "\"1234567\n\"",
        "\"12345678\u{0}\"",
        "",
        "'a'",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "[1}",
        "{]",
        "]",
        ",",
        ":",
        "\u{feff}1",
        "[1]]",
        "1 ",
        " 1",
        "[1 2]",
    ] {
        check(text);
        check(&format!("[{text},1]"));
        check(&format!("{{\"a\":{text}}}"));
    }
}

#[test]
fn meta_is_cut_out_of_the_hash_wherever_it_stands() {
    let metas = [
        r#""meta":{}"#,
        r#""meta":{"versionId":"1"}"#,
        r#""meta":{"lastUpdated":"2","versionId":"1"}"#,
        r#""meta":{"versionId":"1","profile":["p"]}"#,
        r#""meta":{"profile":["p"],"versionId":"1","lastUpdated":"2"}"#,
        r#""meta":{"lastUpdated":"2","profile":["p"],"versionId":"1","tag":[]}"#,
        r#""meta":{"lastUpdated":"2","versionId":"1","tag":[]}"#,
    ];
    for meta in metas {
        for text in [
            format!(r#"{{{meta},"resourceType":"Goal","id":"1"}}"#),
            format!(r#"{{"resourceType":"Goal",{meta},"id":"1"}}"#),
            format!(r#"{{"resourceType":"Goal","id":"1",{meta}}}"#),
        ] {
            assert!(check(&text), "{text}");
            // The same inside of another text.
            let outer = format!("[{text},0]");
            let mut inner = None;
            let mut walk = Walk::new(&outer);
            walk.array(|walk| {
                inner = inner.take().or(Some(walk.resource()?));
                Some(())
            })
            .unwrap();
            assert_eq!(inner, found(&text));
        }
    }
}

#[test]
fn what_is_unusual_is_left_to_others() {
    let members = |count: usize| -> String {
        let members: Vec<String> = (0..count).map(|n| format!(",\"k{n}\":{n}")).collect();
        members.concat()
    };
    for (rest, is_plain) in [
        (members(30), true),
        (members(31), false),
        (r#","x":{"a":1,"a":2}"#.to_owned(), false),
        (r#","x":{"a":1},"y":{"a":2},"a":3"#.to_owned(), true),
        (
            r#","x":[{"longer than eight":1,"longer then eight":2}]"#.to_owned(),
            true,
        ),
        (r#","\u0078":1"#.to_owned(), false),
        (r#","x":"\ud83d\ude00""#.to_owned(), false),
        (r#","x":"\uDC00""#.to_owned(), false),
        (r#","x":"\ud7ff \ue000""#.to_owned(), true),
        (r#","meta":null"#.to_owned(), false),
    ] {
        let text = format!(r#"{{"resourceType":"Goal","id":"1"{rest}}}"#);
        assert_eq!(check(&text), is_plain, "{text}");
    }
    // And what comes behind it is judged anew.
    let mut walk = Walk::new(
        r#"[{"resourceType":"Goal"},{"resourceType":"Goal","id":"\ud800"},{"resourceType":"Goal","id":"1"}]"#,
    );
    let mut plain = Vec::new();
    walk.array(|walk| {
        plain.push(walk.resource()?.plain.is_some());
        Some(())
    })
    .unwrap();
    assert_eq!(plain, [false, false, true]);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(walks_past(&nested(DEPTH_MAX)));
    assert!(!walks_past(&nested(DEPTH_MAX + 1)));
    assert!(!walks_past(&nested(200_000)));
}

#[test]
fn a_walk_stops_where_there_is_space() {
    for (text, is_space) in [
        ("{ }", true),
        ("{\"a\" :1}", true),
        ("{\"a\":\n1}", true),
        ("[1 ,2]", true),
        ("[1,\t2]", true),
        ("[\"a\"\r]", true),
        ("[tru e]", false),
        ("[\"a b\"x]", false),
    ] {
        let mut walk = Walk::new(text);
        assert_eq!(walk.skip(), None);
        assert_eq!(walk.is_at_space(), is_space, "{text}");
    }
}

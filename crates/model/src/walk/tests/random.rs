//! Random texts, the same in every run: values, resources, and both damaged.

use std::fmt::Write;

/// SplitMix64: the same texts in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Seldom one of the last four, which are unusual.
    fn pick_usual<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let unusual = if self.below(20) == 0 { 0 } else { 4 };
        self.pick(&of[..of.len() - unusual])
    }
}

const KEYS: [&str; 14] = [
    "id",
    "meta",
    "versionId",
    "lastUpdated",
    "resourceType",
    "",
    "a",
    "valueCodeableConcept",
    "valueCodeableContent",
    "überschrift",
    "m\\u0065ta",
    "\\ud83d\\ude00",
    "x\\\"y",
    "\\ud800",
];
const STRINGS: [&str; 10] = [
    "",
    "1",
    "Patient",
    "2024-01-02T03:04:05.678+09:00",
    "a \u{e9}\u{2028}\u{1f600}",
    "a narrative, longer than eight and than sixteen bytes, with: {signs} [of], JSON",
    "tab\\t line\\n \\u00e9 \\\"",
    "\\ud83d\\ude00",
    "\\ud800 alone",
    "W\\/\\\"1\\\"",
];
const OTHERS: [&str; 12] = [
    "0", "-0.0", "1.10", "1E-2", "-12e+3", "true", "false", "null", "{}", "[]", "5e6", "70",
];

/// Writes a value of at most `depth` levels.
pub(super) fn value(random: &mut Random, depth: usize, out: &mut String) {
    match random.below(if depth == 0 { 2 } else { 4 }) {
        0 => write!(out, "\"{}\"", random.pick_usual(&STRINGS)).unwrap(),
        1 => out.push_str(random.pick(&OTHERS)),
        2 => {
            out.push('[');
            for at in 0..random.below(4) {
                out.push_str(if at == 0 { "" } else { "," });
                value(random, depth - 1, out);
            }
            out.push(']');
        }
        _ => object(random, depth, out),
    }
}

fn object(random: &mut Random, depth: usize, out: &mut String) {
    out.push('{');
    for at in 0..random.below(6) {
        out.push_str(if at == 0 { "" } else { "," });
        write!(out, "\"{}\":", random.pick_usual(&KEYS)).unwrap();
        value(random, depth - 1, out);
    }
    out.push('}');
}

/// Most often a resource; its members in any order, some twice or odd.
pub(super) fn resource(random: &mut Random) -> String {
    let mut members = vec![
        format!(
            "\"resourceType\":\"{}\"",
            random.pick(&["Patient", "Goal", "../x"])
        ),
        format!("\"id\":\"{}\"", random.pick_usual(&STRINGS)),
    ];
    if random.below(4) > 0 {
        let mut meta = vec![
            "\"versionId\":\"7\"",
            "\"lastUpdated\":\"2024\"",
            "\"profile\":[\"p\"]",
        ];
        meta.extend([
            "\"tag\":[]",
            "\"source\":\"#x\"",
            "\"versionId\":null",
            "\"versionId\":\"W/\\\"1\\\"\"",
        ]);
        let kept: Vec<&str> = (0..random.below(4)).map(|_| random.pick(&meta)).collect();
        members.push(format!("\"meta\":{{{}}}", kept.join(",")));
    }
    for _ in 0..random.below(4) {
        let mut member = format!("\"{}\":", random.pick_usual(&KEYS));
        value(random, 3, &mut member);
        members.push(member);
    }
    for at in 1..members.len() {
        members.swap(at, random.below(at + 1));
    }
    format!("{{{}}}", members.join(","))
}

/// Changes, drops, doubles or adds a few bytes; the text before where that is no UTF-8.
pub(super) fn damaged(random: &mut Random, text: &str) -> String {
    const BYTES: &[u8] = b"\"\\{}[]:, \n\t0123456789-+.eEtrufalsn\x00\x1f\x7fdD8cC";
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + random.below(9)).min(bytes.len());
        let byte = BYTES[random.below(BYTES.len())];
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            2 => bytes.insert(at, byte),
            3 => bytes.truncate(at),
            _ => bytes[at..end.min(at + 1)].fill(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

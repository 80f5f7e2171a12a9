//! Writes searchset pages around the raw text of resources, and the two pure
//! functions over JSON text: `compact` and `indent`. Neither ever changes a
//! string or a number.

use crate::knobs::Knobs;
use crate::row::Row;
use url::Url;

/// Types whose entries carry no `search.mode`, as at several vendors.
const WITHOUT_MODE: [&str; 4] = ["Claim", "Immunization", "MedicationRequest", "Procedure"];

/// The type of which every page holds an OperationOutcome, as at Epic.
const WITH_OUTCOME: &str = "Condition";

const OUTCOME: &str = concat!(
    r#"{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing","#,
    r#""details":{"coding":[{"system":"urn:oid:1.2.840.114350.1.13.0.1.7.2.657369","code":"4119"}],"#,
    r#""text":"This response may not contain the entire record available in the system."}}]}"#
);

/// The entry of a search from which something was left out, as at Epic.
const SUPPRESSED: &str = concat!(
    r#"{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"suppressed","#,
    r#""details":{"coding":[{"system":"urn:oid:1.2.840.114350.1.13.0.1.7.2.657369","code":"59204"}],"#,
    r#""text":"Client not authorized for a part of this type. Search results of it have not been included."}}]}"#
);

/// Every third page of a search is indented.
const INDENT_EVERY: usize = 3;

/// What one page is made of.
pub(crate) struct Page<'a> {
    pub(crate) base: &'a Url,
    /// The searched type.
    pub(crate) ty: &'a str,
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) self_url: String,
    pub(crate) next_url: Option<String>,
    pub(crate) rows: &'a [std::sync::Arc<Row>],
    pub(crate) knobs: &'a Knobs,
}

impl Page<'_> {
    /// The page as JSON text. Its `total` is wrong or left out, as at portals.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out =
            br#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"#
                .to_vec();
        push_string(&mut out, &self.self_url);
        if let Some(next) = &self.next_url {
            out.extend_from_slice(br#"},{"relation":"next","url":"#);
            push_string(&mut out, next);
        }
        out.extend_from_slice(b"}]");
        if self.knobs.counts_the_page {
            out.extend_from_slice(format!(r#","total":{}"#, self.rows.len()).as_bytes());
        }
        let outcome = if self.knobs.suppressed.contains(self.ty) {
            Some(SUPPRESSED)
        } else {
            (self.ty == WITH_OUTCOME).then_some(OUTCOME)
        };
        // FHIR's JSON forbids empty arrays.
        if outcome.is_some() || !self.rows.is_empty() {
            out.extend_from_slice(br#","entry":["#);
            for row in self.rows {
                self.push_entry(&mut out, row);
                out.push(b',');
            }
            if let Some(outcome) = outcome {
                out.extend_from_slice(br#"{"resource":"#);
                out.extend_from_slice(outcome.as_bytes());
                out.extend_from_slice(br#","search":{"mode":"outcome"}}"#);
            } else {
                out.pop();
            }
            out.push(b']');
        }
        out.push(b'}');
        if self.number.is_multiple_of(INDENT_EVERY) {
            indent(&out)
        } else {
            out
        }
    }

    fn push_entry(&self, out: &mut Vec<u8>, row: &Row) {
        out.push(b'{');
        if let Some((ty, id)) = &row.key {
            out.extend_from_slice(br#""fullUrl":"#);
            let mut url = self.base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.push(ty).push(id);
            }
            push_string(out, url.as_str());
            out.push(b',');
        }
        out.extend_from_slice(br#""resource":"#);
        match self.knobs.broken(row) {
            Some(way) => out.extend_from_slice(&way.apply(&row.raw)),
            None => out.extend_from_slice(&row.raw),
        }
        if !WITHOUT_MODE.contains(&self.ty) {
            out.extend_from_slice(br#","search":{"mode":"match"}"#);
        }
        out.push(b'}');
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always written to memory");
}

/// Drops whitespace between the tokens of a JSON text; strings and numbers stay as they are.
pub fn compact(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    each_outside_strings(raw, &mut out, |out, byte| {
        if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            out.push(byte);
        }
    });
    out
}

/// Adds line breaks and two spaces a level between the tokens of a JSON text.
pub(crate) fn indent(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() * 2);
    let mut depth = 0;
    each_outside_strings(&compact(raw), &mut out, |out, byte| match byte {
        b'{' | b'[' => {
            depth += 1;
            out.push(byte);
            break_line(out, depth);
        }
        b'}' | b']' => {
            depth -= 1;
            let end = out.trim_ascii_end().len();
            out.truncate(end);
            // An empty object or array stays on its line.
            if !matches!(out.last(), Some(b'{' | b'[')) {
                break_line(out, depth);
            }
            out.push(byte);
        }
        b',' => {
            out.push(byte);
            break_line(out, depth);
        }
        b':' => out.extend_from_slice(b": "),
        _ => out.push(byte),
    });
    out
}

fn break_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Copies strings whole and hands every other byte to `write`.
fn each_outside_strings(raw: &[u8], out: &mut Vec<u8>, mut write: impl FnMut(&mut Vec<u8>, u8)) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in raw {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
            out.push(byte);
        } else {
            write(out, byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_indent_keep_tokens() {
        let cases = [
            (r#" { "a" : 1.10 , "b" : [ ] } "#, r#"{"a":1.10,"b":[]}"#),
            (
                "{\"s\":\" x \\\\\" ,\n\"t\":\"\\\" { , \"}",
                r#"{"s":" x \\","t":"\" { , "}"#,
            ),
            (r#"[1.0E-2, -0.0,{ }, [[ ] ]]"#, r#"[1.0E-2,-0.0,{},[[]]]"#),
        ];
        for (raw, expected) in cases {
            assert_eq!(compact(raw.as_bytes()), expected.as_bytes());
            let indented = indent(raw.as_bytes());
            assert!(indented.len() > expected.len());
            assert_eq!(compact(&indented), expected.as_bytes());
        }
        assert_eq!(
            indent(br#"{"a":[1,{}]}"#),
            b"{\n  \"a\": [\n    1,\n    {}\n  ]\n}"
        );
    }
}

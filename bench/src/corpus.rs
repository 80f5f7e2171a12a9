//! The resources of the benches: the sandbox's synthetic patients, as often as
//! needed. Every UUID in a copy is replaced, references included, so that a copy
//! is other people with other ids, not the same text again.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use model::{RawResource, content_hash, read_head};
use sandbox::{Sandbox, SandboxOptions};

/// What a changed resource ends with, in place of its brace.
const CHANGE: &[u8] = br#","language":"x-changed"}"#;

/// The resources, made as they are asked for.
pub(crate) struct Corpus {
    sample: Vec<Bytes>,
    seed: u64,
    /// How many resources there are.
    pub(crate) resources: usize,
}

impl Corpus {
    /// Reads the sample: patient after patient, type after type, as a pull would.
    pub(crate) async fn open(seed: u64, resources: usize) -> Result<Self> {
        let sandbox = Sandbox::start(SandboxOptions::default()).await?;
        let mut seen = HashSet::new();
        let mut sample = Vec::new();
        for patient in sandbox
            .patients()
            .into_iter()
            .filter(|patient| is_uuid(patient.id.as_bytes()))
        {
            for (key, text) in sandbox.portal().expected(&patient.id) {
                // The hand-written edge cases have ids that cannot be replaced.
                if is_uuid(key.1.as_bytes()) && seen.insert(key) {
                    sample.push(Bytes::from(text));
                }
            }
        }
        ensure!(!sample.is_empty(), "the sandbox has no sample");
        Ok(Self {
            sample,
            seed,
            resources,
        })
    }

    /// How many resources the sample itself has.
    pub(crate) fn sample_count(&self) -> usize {
        self.sample.len()
    }

    /// The raw bytes of all resources, without line feeds.
    pub(crate) fn raw_bytes(&self) -> u64 {
        (0..self.resources)
            .map(|number| self.sample[number % self.sample.len()].len() as u64)
            .sum()
    }

    /// Whether resource `number` is among the changed `percent`.
    pub(crate) fn is_changed(&self, number: usize, percent: u64) -> bool {
        mix(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9)) % 100 < percent
    }

    /// All resources, `percent` of them changed.
    pub(crate) fn iter(&self, percent: u64) -> impl Iterator<Item = Result<RawResource>> + '_ {
        (0..self.resources).map(move |number| {
            let copy = (number / self.sample.len()) as u64;
            let mut text = self.sample[number % self.sample.len()].to_vec();
            replace_uuids(
                &mut text,
                [
                    mix(self.seed ^ (copy << 1)),
                    mix(self.seed ^ (copy << 1 | 1)),
                ],
            );
            if self.is_changed(number, percent) {
                text.pop();
                text.extend_from_slice(CHANGE);
            }
            let head = read_head(&text).context("read the head of a sample resource")?;
            Ok(RawResource {
                head,
                hash: content_hash(&text),
                text: text.into(),
            })
        })
    }
}

/// A hash of type, id and text, to be added up over any order of resources.
pub(crate) fn digest(resource_type: &str, id: &str, text: &[u8], buffer: &mut Vec<u8>) -> u128 {
    buffer.clear();
    for part in [resource_type.as_bytes(), b"/", id.as_bytes(), b" ", text] {
        buffer.extend_from_slice(part);
    }
    // No JSON object, so this is SHA-256 over all of it.
    u128::from_le_bytes(content_hash(buffer).0)
}

/// Whether `text` is a UUID in its usual form.
pub(crate) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

/// Replaces every UUID by its exclusive or with `key`: different ones stay
/// different, equal ones equal.
fn replace_uuids(text: &mut [u8], key: [u64; 2]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let key = u128::from(key[0]) << 64 | u128::from(key[1]);
    let mut at = 0;
    while at + 36 <= text.len() {
        if text[at + 8] != b'-' || !is_uuid(&text[at..at + 36]) {
            at += 1;
            continue;
        }
        let digits = text[at..at + 36].iter_mut().filter(|byte| **byte != b'-');
        for (place, digit) in digits.enumerate() {
            let value = if digit.is_ascii_digit() {
                *digit - b'0'
            } else {
                *digit - b'a' + 10
            };
            let key = (key >> (4 * place)) as u8 & 15;
            *digit = DIGITS[usize::from(value ^ key)];
        }
        at += 36;
    }
}

/// SplitMix64's finaliser: neighbours become unrelated.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_replaced_alike_and_back() {
        let id = "219c2c77-8767-a371-b30c-f0790fcfb278";
        let before = format!(r#"{{"id":"{id}","reference":"Patient/{id}","v":"219c2c77-8767"}}"#);
        let mut text = before.clone().into_bytes();
        replace_uuids(&mut text, [7, 9]);
        let after = String::from_utf8(text.clone()).unwrap();
        assert_ne!(after, before);
        assert!(!after.contains(id) && after.contains("219c2c77-8767\"") && is_uuid(&text[7..43]));
        assert_eq!(text[7..43], text[66..102]);
        replace_uuids(&mut text, [7, 9]);
        assert_eq!(text, before.as_bytes());
    }
}

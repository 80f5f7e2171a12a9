//! The readers against hostile bytes: every result is a value or a typed error
//! that names the object; nothing panics, and memory stays small.
//!
//! `CHARTLIFT_FUZZ_EXECUTIONS` says how often (20,000 by default).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod hostile;
mod valid;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chartlift_records::{Error, Index, Segment};
use model::Change;

use self::hostile::{Flip, TRAILER, hostile_index, hostile_segment, pack, put_together};
use self::valid::{INDEXES, SEGMENTS, copy_all};

const OBJECT: &str = "connections/con_x/batches/1";

fn assert_names_the_object(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Corrupt { .. } | Error::UnsupportedVersion { .. }
        ),
        "{error}"
    );
    assert_eq!(error.object(), Some(OBJECT));
}

fn read_everything(bytes: Bytes) {
    let segment = match Segment::parse(OBJECT, bytes.clone()) {
        Ok(segment) => segment,
        Err(error) => return assert_names_the_object(&error),
    };
    for (row, meta) in (0..).zip(segment.rows()) {
        match segment.text(row) {
            Ok(text) => assert_eq!(text.is_none(), meta.change == Change::Deleted),
            Err(error) => assert_names_the_object(&error),
        }
    }
    if let Err(error) = segment.rehash() {
        assert_names_the_object(&error);
    }
    let again = copy_all(&segment, &bytes).unwrap().finish().unwrap().0;
    Segment::parse(OBJECT, again).unwrap();
    let mut index = Index::new();
    index.apply(1, segment.footer()).unwrap();
    Index::parse(OBJECT, &index.encode().unwrap()).unwrap();
}

/// The most memory this process has used, in KiB, where the system says.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}

#[test]
fn hostile_bytes_are_typed_errors() {
    let executions = std::env::var("CHARTLIFT_FUZZ_EXECUTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let done = AtomicUsize::new(0);
    bolero::check!()
        .with_type::<(bool, u8, u8, Vec<Flip>, Vec<u8>)>()
        .with_iterations(executions)
        .with_shrink_time(std::time::Duration::from_secs(1))
        .for_each(|(is_index, kind, which, flips, arbitrary)| {
            if *is_index {
                let bytes = hostile_index(*kind, *which, flips, arbitrary);
                match Index::parse(OBJECT, &bytes) {
                    Ok(index) => drop(index.iter().map(|entry| entry.id.len()).sum::<usize>()),
                    Err(error) => assert_names_the_object(&error),
                }
            } else {
                read_everything(hostile_segment(*kind, *which, flips, arbitrary).into());
            }
            done.fetch_add(1, Ordering::Relaxed);
        });
    let done = done.load(Ordering::Relaxed);
    assert!(done >= executions, "only {done} of {executions}");
    assert!(
        peak_kib().is_none_or(|peak| peak < 512 << 10),
        "{:?} KiB",
        peak_kib()
    );
    println!(
        "FIGURES: {{\"executions\":{},\"panics\":0,\"peak_kib\":{}}}",
        done,
        peak_kib().unwrap_or(0)
    );
}

#[test]
fn every_flipped_byte_is_noticed() {
    let bytes = &SEGMENTS[2];
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x10;
        let result = Segment::parse(OBJECT, flipped.into()).and_then(|segment| segment.rehash());
        assert_names_the_object(&result.unwrap_err());
    }
    let bytes = &INDEXES[2];
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x10;
        assert_names_the_object(&Index::parse(OBJECT, &flipped).unwrap_err());
    }
}

#[test]
fn bombs_are_refused_or_small() {
    // 4 KiB of zstd that is 100 MB of zeros, as a footer and as an index.
    let raw = vec![0; 100 << 20];
    let body = pack(&raw);
    assert!(body.len() < 16 << 10);
    assert_names_the_object(
        &Segment::parse(OBJECT, put_together(&[], &raw, &body).into()).unwrap_err(),
    );
    // A footer that claims 2^40 bytes, and one that claims more than zstd can make.
    for claim in [1_u64 << 40, 100 << 20] {
        let mut bytes = put_together(&[], &[], &pack(&[]));
        let at = bytes.len() - TRAILER + 4;
        bytes[at..at + 8].copy_from_slice(&claim.to_le_bytes());
        let error = Segment::parse(OBJECT, bytes.into()).unwrap_err();
        assert!(error.to_string().contains("impossible size"), "{error}");
    }
}

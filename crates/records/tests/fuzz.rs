//! The readers against hostile bytes: every result is a value or a typed error
//! that names the object; nothing panics, and memory stays small.
//!
//! `CHARTLIFT_FUZZ_EXECUTIONS` says how often (20,000 by default).

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chartlift_records::{Error, Index, Segment, SegmentWriter};
use model::{
    Change, ConnectionId, Head, RawResource, Reason, RowMeta, Timestamp, content_hash, read_head,
};
use xxhash_rust::xxh3::xxh3_64;

const OBJECT: &str = "connections/con_x/batches/1";
/// The trailer of a segment and the header of an index: docs/contract.md.
const TRAILER: usize = 32;
const INDEX_HEADER: usize = 40;

fn resource(resource_type: &str, id: usize, padding: usize) -> RawResource {
    let text = format!(
        "{{\"resourceType\":\"{resource_type}\",\"id\":\"é{id}\",\"meta\":{{\"versionId\":\"{id}\"}},\"p\":\"{}\"}}",
        "p".repeat(padding)
    );
    let head = read_head(text.as_bytes()).unwrap();
    RawResource {
        head,
        hash: content_hash(text.as_bytes()),
        text: text.into(),
    }
}

fn tombstone(resource_type: &str, id: &str) -> RowMeta {
    let head = Head {
        resource_type: resource_type.into(),
        id: id.into(),
        version_id: None,
        last_updated: Some("x".into()),
    };
    RowMeta {
        head,
        change: Change::Deleted,
        reason: Reason::Absent,
        content_hash: content_hash(b"{}"),
        fetched_at: Timestamp(-5),
        batch_seq: 3,
        settle_seq: 9,
    }
}

fn segment(row_count: usize) -> Bytes {
    let mut writer = SegmentWriter::new(Some(ConnectionId::new())).unwrap();
    for id in 0..row_count {
        let name = ["Observation", "Patient", "Binary"][id % 3];
        writer
            .push(
                &resource(name, id, id * 7),
                Timestamp(1_000_000 * id as i64),
            )
            .unwrap();
    }
    if row_count > 0 {
        writer.push_tombstone(&tombstone("Group", "g")).unwrap();
        writer.push_tombstone(&tombstone("Patient", "p")).unwrap();
    }
    writer.finish().unwrap().0
}

/// A segment of tombstones alone, as deletions are held back.
fn gone() -> Bytes {
    let mut writer = SegmentWriter::new(Some(ConnectionId::new())).unwrap();
    for id in ["a", "b", "é"] {
        let staged = RowMeta {
            batch_seq: 0,
            settle_seq: 0,
            ..tombstone("Condition", id)
        };
        writer.push_tombstone(&staged).unwrap();
    }
    writer.finish().unwrap().0
}

/// A segment of copied frames, with dead rows.
fn copied(bytes: Bytes) -> Bytes {
    let source = Segment::parse(OBJECT, bytes.clone()).unwrap();
    copy_all(&source, &bytes).unwrap().finish().unwrap().0
}

/// Copies every frame that can be read, leaving out the last row where it can.
fn copy_all(source: &Segment, bytes: &Bytes) -> Result<SegmentWriter, Error> {
    let footer = source.footer();
    let mut writer = SegmentWriter::new(None)?;
    for (number, frame) in footer.frames().iter().enumerate() {
        if source.read_frame(number).is_err() {
            continue;
        }
        let compressed =
            bytes.slice(frame.offset as usize..frame.offset as usize + frame.size_bytes as usize);
        let rows = frame.first_row..frame.first_row + (frame.row_count - 1).max(1);
        writer.copy_frame(
            footer,
            frame,
            compressed,
            rows.map(|row| (row, footer.row(row))),
        )?;
    }
    Ok(writer)
}

static SEGMENTS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    vec![
        segment(0),
        segment(1),
        segment(25),
        copied(segment(40)),
        gone(),
    ]
});
static INDEXES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let mut index = Index::new();
    let mut indexes = vec![index.encode().unwrap()];
    for seq in 1..=2 {
        let bytes = segment(20 * seq as usize);
        index
            .apply(seq, Segment::parse(OBJECT, bytes).unwrap().footer())
            .unwrap();
        indexes.push(index.encode().unwrap());
    }
    indexes
});

/// (place, value): one byte to change.
type Flip = (u16, u8);

fn flip(bytes: &mut [u8], flips: &[Flip]) {
    for (place, value) in flips.iter().take(8) {
        if let Some(length) = bytes.len().checked_sub(1).filter(|length| *length > 0) {
            bytes[usize::from(*place) % (length + 1)] = *value;
        }
    }
}

/// The parts of a valid segment: frames, and the footer before compression.
fn take_apart(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let trailer = &bytes[bytes.len() - TRAILER..];
    let body_bytes = u32::from_le_bytes(trailer[..4].try_into().unwrap()) as usize;
    let raw_bytes = u64::from_le_bytes(trailer[4..12].try_into().unwrap()) as usize;
    let end = bytes.len() - TRAILER;
    let raw = zstd::bulk::decompress(&bytes[end - body_bytes..end], raw_bytes).unwrap();
    (bytes[..end - body_bytes - 8].to_vec(), raw)
}

/// A segment whose sizes and checksums are right, whatever its footer says.
fn put_together(frames: &[u8], raw: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = frames.to_vec();
    out.extend(0x184D_2A50_u32.to_le_bytes());
    out.extend(((body.len() + TRAILER) as u32).to_le_bytes());
    out.extend(body);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend((raw.len() as u64).to_le_bytes());
    out.extend(xxh3_64(body).to_le_bytes());
    out.extend([1, 0, 0, 0]);
    out.extend(b"CHLFTSG1");
    out
}

fn pack(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 1).unwrap()
}

fn hostile_segment(kind: u8, which: u8, flips: &[Flip], arbitrary: &[u8]) -> Vec<u8> {
    let valid = &SEGMENTS[usize::from(which) % SEGMENTS.len()];
    let mut bytes = valid.to_vec();
    let (mut frames, mut raw) = take_apart(valid);
    match kind % 8 {
        0 => return arbitrary.to_vec(),
        1 => flip(&mut bytes, flips),
        2 => bytes.truncate(
            flips
                .first()
                .map_or(0, |flip| usize::from(flip.0) % (bytes.len() + 1)),
        ),
        3 => {
            flip(&mut raw, flips);
            bytes = put_together(&frames, &raw, &pack(&raw));
        }
        4 => {
            let end = bytes.len() - 12;
            flip(&mut bytes[end - 20..end], flips);
        }
        5 => {
            let mut body = pack(&raw);
            flip(&mut body, flips);
            bytes = put_together(&frames, &raw, &body);
        }
        6 => {
            // The first frame with its checksum put right.
            let Some(frame) = Segment::parse(OBJECT, valid.clone())
                .unwrap()
                .footer()
                .frames()
                .first()
                .copied()
            else {
                return bytes;
            };
            let size = frame.size_bytes as usize;
            flip(&mut frames[..size], flips);
            let (old, new) = (
                frame.checksum.to_le_bytes(),
                xxh3_64(&frames[..size]).to_le_bytes(),
            );
            let at = raw.windows(8).position(|window| window == old).unwrap();
            raw[at..at + 8].copy_from_slice(&new);
            bytes = put_together(&frames, &raw, &pack(&raw));
        }
        _ => bytes = put_together(&frames, arbitrary, &pack(arbitrary)),
    }
    bytes
}

fn hostile_index(kind: u8, which: u8, flips: &[Flip], arbitrary: &[u8]) -> Vec<u8> {
    let mut bytes = INDEXES[usize::from(which) % INDEXES.len()].to_vec();
    let count = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
    let raw_bytes = u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
    let body = INDEX_HEADER + 16 * count;
    match kind % 5 {
        0 => return arbitrary.to_vec(),
        1 => flip(&mut bytes, flips),
        2 => bytes.truncate(
            flips
                .first()
                .map_or(0, |flip| usize::from(flip.0) % (bytes.len() + 1)),
        ),
        3 => {
            let mut raw = zstd::bulk::decompress(&bytes[body..], raw_bytes).unwrap();
            flip(&mut raw, flips);
            bytes.truncate(body);
            bytes.extend(pack(&raw));
        }
        _ => flip(&mut bytes[16..], flips),
    }
    if bytes.len() > INDEX_HEADER && kind % 5 != 1 {
        let checksum = xxh3_64(&bytes[INDEX_HEADER..]).to_le_bytes();
        bytes[32..40].copy_from_slice(&checksum);
    }
    bytes
}

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

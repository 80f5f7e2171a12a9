//! Hostile bytes: valid objects that were cut or changed, with sizes and checksums put
//! right where that leads the readers further in.

use chartlift_records::Segment;
use xxhash_rust::xxh3::xxh3_64;

use crate::OBJECT;
use crate::valid::{INDEXES, SEGMENTS};

/// The trailer of a segment and the header of an index: docs/contract.md.
pub(crate) const TRAILER: usize = 32;
const INDEX_HEADER: usize = 40;

/// (place, value): one byte to change.
pub(crate) type Flip = (u16, u8);

fn flip(bytes: &mut [u8], flips: &[Flip]) {
    for (place, value) in flips.iter().take(8) {
        if let Some(length) = bytes.len().checked_sub(1).filter(|length| *length > 0) {
            bytes[usize::from(*place) % (length + 1)] = *value;
        }
    }
}

/// Leaves as many bytes as the first flip says.
fn cut(bytes: &mut Vec<u8>, flips: &[Flip]) {
    let length = flips.first().map_or(0, |flip| usize::from(flip.0));
    bytes.truncate(length % (bytes.len() + 1));
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
pub(crate) fn put_together(frames: &[u8], raw: &[u8], body: &[u8]) -> Vec<u8> {
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

pub(crate) fn pack(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 1).unwrap()
}

pub(crate) fn hostile_segment(kind: u8, which: u8, flips: &[Flip], arbitrary: &[u8]) -> Vec<u8> {
    let valid = &SEGMENTS[usize::from(which) % SEGMENTS.len()];
    let mut bytes = valid.to_vec();
    let (mut frames, mut raw) = take_apart(valid);
    match kind % 8 {
        0 => return arbitrary.to_vec(),
        1 => flip(&mut bytes, flips),
        2 => cut(&mut bytes, flips),
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

pub(crate) fn hostile_index(kind: u8, which: u8, flips: &[Flip], arbitrary: &[u8]) -> Vec<u8> {
    let mut bytes = INDEXES[usize::from(which) % INDEXES.len()].to_vec();
    let count = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
    let raw_bytes = u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
    let body = INDEX_HEADER + 16 * count;
    match kind % 5 {
        0 => return arbitrary.to_vec(),
        1 => flip(&mut bytes, flips),
        2 => cut(&mut bytes, flips),
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

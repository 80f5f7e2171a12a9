//! The index on disk: a zstd skippable frame with a header and the content hashes,
//! which do not compress, then one zstd frame of postcard columns.
//! `docs/contract.md` specifies every byte.

use std::collections::HashMap;

use bytes::Bytes;
use model::ContentHash;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;
use crate::column::{Column, TextEnds, decode_types, is_plausible, put};
use crate::index::{Entry, Index, RAW_BYTES_MAX};
use crate::keys::KeyTable;
use crate::segment::{SKIPPABLE_MAGIC, ZSTD_LEVEL};

const MAGIC: [u8; 8] = *b"CHLFTIX1";
const VERSION: u16 = 1;
/// Magic and length of the skippable frame, then our header.
const HEADER: usize = 8 + 32;

/// Columns of varints, unless said otherwise.
#[derive(Default, Serialize, Deserialize)]
struct Body<Bytes, Text> {
    last_seq: u64,
    /// Joined by `/`.
    types: Text,
    entry_types: Bytes,
    id_lengths: Bytes,
    ids: Text,
    batch_seqs: Bytes,
    rows: Bytes,
    /// One byte each, 0 or 1.
    tombstones: Bytes,
}

pub(super) fn encode(index: &Index) -> Result<Bytes, Error> {
    let types = index.types.join("/");
    let mut body = Body::<Vec<u8>, &str> {
        last_seq: index.last_seq,
        types: &types,
        ids: &index.ids,
        ..Body::default()
    };
    let mut id = 0;
    for entry in &index.entries {
        put(&mut body.entry_types, entry.type_index.into());
        put(&mut body.id_lengths, (entry.id_end - id).into());
        id = entry.id_end;
        put(&mut body.batch_seqs, entry.batch_seq);
        put(&mut body.rows, entry.row.into());
        body.tombstones.push(entry.is_tombstone.into());
    }
    let raw = postcard::to_allocvec(&body).map_err(|_| Error::Invalid {
        what: "an index cannot be encoded",
    })?;
    let raw_bytes = raw.len() as u64;
    let hash_bytes = 16 * index.entries.len();
    let length = u32::try_from(HEADER - 8 + hash_bytes)
        .ok()
        .filter(|_| raw_bytes <= RAW_BYTES_MAX);
    let length = length.ok_or(Error::TooLarge {
        what: "index",
        size_bytes: raw_bytes,
        size_bytes_max: RAW_BYTES_MAX,
    })?;
    let packed = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(|_| Error::Invalid {
        what: "zstd has no memory",
    })?;
    let mut out = Vec::with_capacity(HEADER + hash_bytes + packed.len());
    out.resize(HEADER, 0);
    for entry in &index.entries {
        out.extend(entry.content_hash.0);
    }
    out.extend(packed);
    let checksum = xxh3_64(&out[HEADER..]);
    out[0..4].copy_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..16].copy_from_slice(&MAGIC);
    out[16..18].copy_from_slice(&VERSION.to_le_bytes());
    out[20..24].copy_from_slice(&(index.entries.len() as u32).to_le_bytes());
    out[24..32].copy_from_slice(&raw_bytes.to_le_bytes());
    out[32..40].copy_from_slice(&checksum.to_le_bytes());
    Ok(out.into())
}

pub(super) fn decode(object: &str, bytes: &[u8]) -> Result<Index, Error> {
    let corrupt = |what| Error::corrupt(object, what);
    let (header, rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| corrupt("it is too short for an index"))?;
    if header[..4] != SKIPPABLE_MAGIC.to_le_bytes() || header[8..16] != MAGIC {
        return Err(corrupt("it does not begin as an index does"));
    }
    let version = u16::from_le_bytes([header[16], header[17]]);
    if version != VERSION {
        return Err(Error::UnsupportedVersion {
            object: object.to_owned(),
            version,
            version_max: VERSION,
        });
    }
    if header[18..20] != [0; 2] {
        return Err(corrupt("a reserved byte of the header is set"));
    }
    let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let hash_bytes = 16 * u64::from(short(20));
    if u64::from(short(4)) != HEADER as u64 - 8 + hash_bytes || hash_bytes > rest.len() as u64 {
        return Err(corrupt("it has not the entries it claims"));
    }
    if xxh3_64(rest) != long(32) {
        return Err(corrupt("its checksum is wrong"));
    }
    let (hashes, packed) = rest.split_at(hash_bytes as usize);
    let raw_bytes = long(24);
    if raw_bytes > RAW_BYTES_MAX || !is_plausible(packed.len() as u64, raw_bytes) {
        return Err(corrupt("it claims an impossible size"));
    }
    let raw = zstd::bulk::decompress(packed, raw_bytes as usize)
        .map_err(|_| corrupt("it does not decompress"))?;
    if raw.len() as u64 != raw_bytes {
        return Err(corrupt("it has not the size it claims"));
    }
    let mut index = decode_body(&raw, hashes).map_err(corrupt)?;
    index.object = object.to_owned();
    Ok(index)
}

fn decode_body(raw: &[u8], hashes: &[u8]) -> Result<Index, &'static str> {
    const SHORT: &str = "its entries are malformed";
    let (body, rest) = postcard::take_from_bytes::<Body<&[u8], &str>>(raw).map_err(|_| SHORT)?;
    let (hashes, _) = hashes.as_chunks::<16>();
    if !rest.is_empty()
        || body.tombstones.len() != hashes.len()
        || body.id_lengths.len() < hashes.len()
    {
        return Err(SHORT);
    }
    let types = decode_types(body.types)?;
    let (mut entry_types, mut rows) = (Column(body.entry_types), Column(body.rows));
    let (mut ids, mut batch_seqs) = (
        TextEnds::new(body.id_lengths, body.ids),
        Column(body.batch_seqs),
    );
    let mut entries = Vec::with_capacity(hashes.len());
    for (hash, tombstone) in hashes.iter().zip(body.tombstones) {
        let batch_seq = batch_seqs.u64().ok_or(SHORT)?;
        if batch_seq == 0 || batch_seq > body.last_seq || *tombstone > 1 {
            return Err("an entry names a batch that the index does not know");
        }
        entries.push(Entry {
            type_index: entry_types
                .index(types.len())
                .ok_or("an entry is of no type")?,
            is_tombstone: *tombstone == 1,
            id_end: ids.next_end().ok_or(SHORT)?,
            row: rows.u32().ok_or(SHORT)?,
            batch_seq,
            content_hash: ContentHash(*hash),
        });
    }
    if !ids.is_finished() || ![entry_types, rows, batch_seqs].iter().all(Column::is_empty) {
        return Err(SHORT);
    }
    let type_indexes: HashMap<_, _> = types.iter().cloned().zip(0..).collect();
    let (last_seq, ids, keys) = (
        body.last_seq,
        body.ids.to_owned(),
        KeyTable::with_capacity(entries.len()),
    );
    let mut index = Index {
        object: String::new(),
        last_seq,
        types,
        type_indexes,
        ids,
        entries,
        keys,
    };
    for slot in 0..index.entries.len() {
        let entry = index.entry(slot);
        let hash = index.keys.hash(entry.resource_type, entry.id);
        if index.find(hash, entry.resource_type, entry.id).is_some() {
            return Err("it knows a resource twice");
        }
        index.keys.add(hash);
    }
    Ok(index)
}

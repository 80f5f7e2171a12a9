//! The footer on disk: postcard around columns. A column is one byte string, so
//! that nothing is allocated for it before the row count has been established.

use model::{Change, ContentHash, Reason};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::column::{Column, TextEnds, decode_types, is_plausible, put, put_signed};
use crate::segment::footer::{Footer, Frame};
use crate::segment::rows::{NO_FRAME, Row, RowTable};
use crate::segment::{FRAME_RAW_BYTES, RESOURCE_BYTES_MAX};

/// Columns of varints, unless said otherwise; `docs/contract.md` has the rules.
#[derive(Default, Serialize, Deserialize)]
struct Body<Bytes, Text> {
    connection: Option<Text>,
    /// Joined by `/`.
    types: Text,
    frame_types: Bytes,
    frame_sizes: Bytes,
    frame_raws: Bytes,
    /// Eight bytes each.
    frame_checksums: Bytes,
    frame_rows: Bytes,
    frame_dead_rows: Bytes,
    tombstone_types: Bytes,
    id_lengths: Bytes,
    ids: Text,
    version_lengths: Bytes,
    versions: Text,
    updated_lengths: Bytes,
    updated: Text,
    /// One byte each.
    changes: Bytes,
    /// One byte each.
    reasons: Bytes,
    /// Sixteen bytes each.
    hashes: Bytes,
    fetched_at: Bytes,
    batch_seqs: Bytes,
    settle_seqs: Bytes,
    gaps: Bytes,
    lengths: Bytes,
}

pub(super) fn encode(footer: &Footer) -> Result<Vec<u8>, Error> {
    let types = footer.types.join("/");
    let mut body = Body::<Vec<u8>, &str> {
        types: &types,
        ..Body::default()
    };
    let connection = footer.connection.map(|connection| connection.to_string());
    body.connection = connection.as_deref();
    for frame in &footer.frames {
        put(&mut body.frame_types, frame.type_index.into());
        put(&mut body.frame_sizes, frame.size_bytes.into());
        put(&mut body.frame_raws, frame.raw_bytes.into());
        body.frame_checksums.extend(frame.checksum.to_le_bytes());
        put(&mut body.frame_rows, frame.row_count.into());
        put(&mut body.frame_dead_rows, frame.dead_row_count.into());
    }
    (body.ids, body.versions, body.updated) = (
        &footer.rows.ids,
        &footer.rows.versions,
        &footer.rows.updated,
    );
    let (mut id, mut version, mut updated, mut fetched_at) = (0, 0, 0, 0_i64);
    let (mut frame, mut end) = (NO_FRAME, 0);
    for row in &footer.rows.rows {
        put(&mut body.id_lengths, (row.id_end - id).into());
        put(
            &mut body.version_lengths,
            u64::from(row.version_end - version) + u64::from(row.has_version),
        );
        put(
            &mut body.updated_lengths,
            u64::from(row.updated_end - updated) + u64::from(row.has_updated),
        );
        (id, version, updated) = (row.id_end, row.version_end, row.updated_end);
        body.changes.push(change_code(row.change));
        body.reasons.push(reason_code(row.reason));
        body.hashes.extend(row.content_hash.0);
        put_signed(
            &mut body.fetched_at,
            row.fetched_at.wrapping_sub(fetched_at),
        );
        fetched_at = row.fetched_at;
        put(&mut body.batch_seqs, row.batch_seq);
        put(&mut body.settle_seqs, row.settle_seq);
        if row.frame == NO_FRAME {
            put(&mut body.tombstone_types, row.type_index.into());
            continue;
        }
        if row.frame != frame {
            (frame, end) = (row.frame, 0);
        }
        put(&mut body.gaps, (row.offset - end).into());
        put(&mut body.lengths, row.length.into());
        end = row.offset + row.length + 1;
    }
    postcard::to_allocvec(&body).map_err(|_| Error::Invalid {
        what: "a segment footer cannot be encoded",
    })
}

/// Reads the footer of a file whose frames end at `frames_end`. The error says
/// what is wrong.
pub(super) fn decode(raw: &[u8], frames_end: u64) -> Result<Footer, &'static str> {
    let (body, rest) = postcard::take_from_bytes::<Body<&[u8], &str>>(raw)
        .map_err(|_| "its footer is malformed")?;
    if !rest.is_empty() {
        return Err("its footer is followed by something");
    }
    let connection = body
        .connection
        .map(str::parse)
        .transpose()
        .map_err(|_| "its connection is no id")?;
    let types = decode_types(body.types)?;
    let frames = decode_frames(&body, types.len(), frames_end)?;
    let rows = decode_rows(&body, types.len(), &frames)?;
    Ok(Footer {
        connection,
        types,
        frames,
        rows,
    })
}

fn decode_frames(
    body: &Body<&[u8], &str>,
    type_count: usize,
    frames_end: u64,
) -> Result<Vec<Frame>, &'static str> {
    const SHORT: &str = "its frame table is malformed";
    let (checksums, rest) = body.frame_checksums.as_chunks::<8>();
    let mut types = Column(body.frame_types);
    let (mut sizes, mut raws) = (Column(body.frame_sizes), Column(body.frame_raws));
    let (mut row_counts, mut dead) = (Column(body.frame_rows), Column(body.frame_dead_rows));
    let (mut offset, mut first_row) = (0_u64, 0_u32);
    let mut frames = Vec::new();
    for checksum in checksums {
        let frame = Frame {
            type_index: types.index(type_count).ok_or("a frame is of no type")?,
            offset,
            size_bytes: sizes.u32().ok_or(SHORT)?,
            raw_bytes: raws.u32().ok_or(SHORT)?,
            checksum: u64::from_le_bytes(*checksum),
            first_row,
            row_count: row_counts.u32().ok_or(SHORT)?,
            dead_row_count: dead.u32().ok_or(SHORT)?,
        };
        offset += u64::from(frame.size_bytes);
        if frame.size_bytes == 0 || offset > frames_end {
            return Err("its frames do not fit into it");
        }
        first_row = first_row.checked_add(frame.row_count).ok_or(SHORT)?;
        let raw_bytes = frame.raw_bytes as usize;
        let is_alone = frame.row_count == 1 && frame.dead_row_count == 0;
        if raw_bytes > FRAME_RAW_BYTES && !(is_alone && raw_bytes <= RESOURCE_BYTES_MAX + 1) {
            return Err("a frame is larger than a frame may be");
        }
        if frame.row_count == 0 || !is_plausible(frame.size_bytes.into(), frame.raw_bytes.into()) {
            return Err("a frame claims an impossible size");
        }
        frames.push(frame);
    }
    if offset != frames_end {
        return Err("its frames do not fill it");
    }
    let is_finished = rest.is_empty()
        && [types, sizes, raws, row_counts, dead]
            .iter()
            .all(Column::is_empty);
    if is_finished { Ok(frames) } else { Err(SHORT) }
}

fn decode_rows(
    body: &Body<&[u8], &str>,
    type_count: usize,
    frames: &[Frame],
) -> Result<RowTable, &'static str> {
    const SHORT: &str = "its rows are malformed";
    let (hashes, rest) = body.hashes.as_chunks::<16>();
    let row_count = u32::try_from(hashes.len()).map_err(|_| SHORT)?;
    let body_count = frames
        .last()
        .map_or(0, |frame| frame.first_row + frame.row_count);
    // With these lengths checked, no table is larger than a few times its text.
    if !rest.is_empty()
        || row_count < body_count
        || body.changes.len() != hashes.len()
        || body.reasons.len() != hashes.len()
        || body.id_lengths.len() < hashes.len()
    {
        return Err(SHORT);
    }
    let mut ids = TextEnds::new(body.id_lengths, body.ids);
    let mut versions = TextEnds::new(body.version_lengths, body.versions);
    let mut updated = TextEnds::new(body.updated_lengths, body.updated);
    let (mut batch_seqs, mut settle_seqs) = (Column(body.batch_seqs), Column(body.settle_seqs));
    let (mut fetched_at, mut times) = (0_i64, Column(body.fetched_at));
    let mut rows = Vec::with_capacity(hashes.len());
    for (at, hash) in hashes.iter().enumerate() {
        let (version_end, has_version) = versions.next_optional_end().ok_or(SHORT)?;
        let (updated_end, has_updated) = updated.next_optional_end().ok_or(SHORT)?;
        fetched_at = fetched_at.wrapping_add(times.i64().ok_or(SHORT)?);
        rows.push(Row {
            type_index: 0,
            change: change_of(body.changes[at]).ok_or("a row has an unknown change")?,
            reason: reason_of(body.reasons[at]).ok_or("a row has an unknown reason")?,
            has_version,
            has_updated,
            id_end: ids.next_end().ok_or(SHORT)?,
            version_end,
            updated_end,
            frame: NO_FRAME,
            offset: 0,
            length: 0,
            content_hash: ContentHash(*hash),
            fetched_at,
            batch_seq: batch_seqs.u64().ok_or(SHORT)?,
            settle_seq: settle_seqs.u64().ok_or(SHORT)?,
        });
    }
    let is_finished = ids.is_finished() && versions.is_finished() && updated.is_finished();
    if !is_finished
        || ![batch_seqs, settle_seqs, times]
            .iter()
            .all(Column::is_empty)
    {
        return Err(SHORT);
    }
    let (bodies, tombstones) = rows.split_at_mut(body_count as usize);
    place_bodies(bodies, frames, body)?;
    place_tombstones(tombstones, body.tombstone_types, type_count)?;
    Ok(RowTable {
        rows,
        ids: body.ids.to_owned(),
        versions: body.versions.to_owned(),
        updated: body.updated.to_owned(),
    })
}

/// Gives the rows with a body their frame, place and type.
fn place_bodies(
    rows: &mut [Row],
    frames: &[Frame],
    body: &Body<&[u8], &str>,
) -> Result<(), &'static str> {
    const SHORT: &str = "the places of its rows are malformed";
    let (mut gaps, mut lengths) = (Column(body.gaps), Column(body.lengths));
    let mut rest = rows;
    for (number, frame) in (0..).zip(frames) {
        let (here, after) = rest.split_at_mut(frame.row_count as usize);
        rest = after;
        let (mut end, mut gap_bytes) = (0_u64, 0_u64);
        for row in here {
            let (gap, length) = (gaps.u32().ok_or(SHORT)?, lengths.u32().ok_or(SHORT)?);
            gap_bytes += u64::from(gap);
            let offset = end + u64::from(gap);
            end = offset + u64::from(length) + 1;
            if end > frame.raw_bytes.into() || length == 0 {
                return Err("a row lies outside its frame");
            }
            if row.change == Change::Deleted || row.reason != Reason::None {
                return Err("a tombstone has a text");
            }
            (row.type_index, row.frame) = (frame.type_index, number);
            // Not past the end of the frame, which is 32 bits long.
            (row.offset, row.length) = (offset as u32, length);
        }
        gap_bytes += u64::from(frame.raw_bytes) - end;
        // A dead line is at least one byte and its line feed.
        if gap_bytes < 2 * u64::from(frame.dead_row_count)
            || (gap_bytes > 0) != (frame.dead_row_count > 0)
        {
            return Err("the rows of a frame do not fill it");
        }
    }
    if gaps.is_empty() && lengths.is_empty() {
        Ok(())
    } else {
        Err(SHORT)
    }
}

fn place_tombstones(rows: &mut [Row], types: &[u8], type_count: usize) -> Result<(), &'static str> {
    let mut types = Column(types);
    for row in rows {
        if row.change != Change::Deleted || row.reason == Reason::None {
            return Err("a row without a text is no tombstone");
        }
        row.type_index = types.index(type_count).ok_or("a tombstone is of no type")?;
    }
    if types.is_empty() {
        Ok(())
    } else {
        Err("it has types for more tombstones than there are")
    }
}

fn change_code(change: Change) -> u8 {
    match change {
        Change::New => 0,
        Change::Changed => 1,
        Change::Deleted => 2,
    }
}

fn change_of(code: u8) -> Option<Change> {
    [Change::New, Change::Changed, Change::Deleted]
        .get(usize::from(code))
        .copied()
}

fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::None => 0,
        Reason::SourceDeleted => 1,
        Reason::Absent => 2,
    }
}

fn reason_of(code: u8) -> Option<Reason> {
    [Reason::None, Reason::SourceDeleted, Reason::Absent]
        .get(usize::from(code))
        .copied()
}

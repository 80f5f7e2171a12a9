//! Valid segments and indexes, of every kind that is written.

use std::sync::LazyLock;

use bytes::Bytes;
use chartlift_records::{Error, Index, Segment, SegmentWriter};
use model::{
    Change, ConnectionId, Head, RawResource, Reason, RowMeta, Timestamp, content_hash, read_head,
};

use crate::OBJECT;

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
pub(crate) fn copy_all(source: &Segment, bytes: &Bytes) -> Result<SegmentWriter, Error> {
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

pub(crate) static SEGMENTS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    vec![
        segment(0),
        segment(1),
        segment(25),
        copied(segment(40)),
        gone(),
    ]
});
pub(crate) static INDEXES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
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

//! Carrying rows from one segment into another: frames of which nearly all is
//! wanted go over compressed, the rest is compressed again, grouped by type.

use model::Change;

use crate::segment::slice;
use crate::{Error, Location, Numbers, RowRef, SegmentReader, SegmentWriter};

/// A frame is copied where at least this share of its raw bytes is wanted.
const COPY_PERCENT_MIN: u64 = 90;

/// Smaller frames (16 KiB raw) are compressed again, together: many small
/// staging objects would otherwise leave a batch of crumbs.
const COPY_RAW_BYTES_MIN: u32 = 16 << 10;

/// A row to carry over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its number in its segment.
    pub(crate) row: u32,
    /// What it says from now on.
    pub(crate) change: Change,
}

/// Carries `wanted`, ascending rows of `reader`, into `writer`, numbered anew
/// where `numbers` are given.
pub(crate) async fn carry(
    writer: &mut SegmentWriter,
    reader: &SegmentReader,
    wanted: &[Wanted],
    numbers: Option<Numbers>,
) -> Result<(), Error> {
    let footer = reader.footer();
    let frame_of = |wanted: &Wanted| footer.location(wanted.row).map(|location| location.frame);
    for group in wanted.chunk_by(|a, b| frame_of(a) == frame_of(b)) {
        let stamped = group
            .iter()
            .map(|wanted| (wanted.row, stamp(footer.row(wanted.row), *wanted, numbers)));
        let Some(number) = group.first().and_then(frame_of) else {
            for (_, row) in stamped {
                writer.push_tombstone_ref(row)?;
            }
            continue;
        };
        let frame = footer.frames()[number as usize];
        let compressed = reader.compressed_frame(number as usize).await?;
        let wanted_bytes: u64 = group
            .iter()
            .filter_map(|wanted| footer.location(wanted.row))
            .map(|at| u64::from(at.length) + 1)
            .sum();
        let is_worth_copying = frame.raw_bytes >= COPY_RAW_BYTES_MIN
            && wanted_bytes * 100 >= u64::from(frame.raw_bytes) * COPY_PERCENT_MIN;
        if is_worth_copying {
            writer.copy_frame(footer, &frame, compressed, stamped)?;
            continue;
        }
        let text = reader.decompress(number as usize, &compressed)?;
        for (row_number, row) in stamped {
            if let Some(Location { offset, length, .. }) = footer.location(row_number) {
                writer.push_ref(row, &slice(&text, offset, length))?;
            }
        }
    }
    Ok(())
}

fn stamp<'a>(row: RowRef<'a>, wanted: Wanted, numbers: Option<Numbers>) -> RowRef<'a> {
    match numbers {
        None => row,
        Some(Numbers {
            batch_seq,
            settle_seq,
        }) => RowRef {
            change: wanted.change,
            batch_seq,
            settle_seq,
            ..row
        },
    }
}

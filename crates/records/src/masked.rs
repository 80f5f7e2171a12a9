//! Masked copies: a copy that says that it carries less than the resource never takes
//! the place of one that is known whole. A footer does not tell one from the other,
//! the texts do; they are read only where a pull met masked copies at all.

use std::collections::{BTreeMap, HashSet};

use model::is_masked;

use crate::newest::At;
use crate::segment::slice;
use crate::{BatchRef, Error, Index, SegmentReader, Store, frame_texts};

/// A staged row that would replace a known one, and where that one lies: the number
/// of its batch object, and its row there.
pub(crate) struct Rival {
    pub(crate) staged: At,
    pub(crate) batch_seq: u64,
    pub(crate) row: u32,
}

/// The staged rows that are masked copies.
pub(crate) async fn rows(readers: &mut [SegmentReader]) -> Result<HashSet<At>, Error> {
    let mut masked = HashSet::new();
    for (number, reader) in (0..).zip(readers) {
        for frame in 0..reader.footer().frames().len() {
            let text = reader.read_frame(frame).await?;
            let texts = frame_texts(reader.footer(), frame, &text);
            let here = texts.filter(|(_, text)| is_masked(text));
            masked.extend(here.map(|(row, _)| (number, row)));
        }
        reader.unload();
    }
    Ok(masked)
}

/// The masked rows that would replace a version of the index.
pub(crate) fn rivals(
    readers: &[SegmentReader],
    staged: &[At],
    masked: &HashSet<At>,
    index: &Index,
) -> Vec<Rival> {
    let is_masked = |at: &&At| masked.contains(at);
    staged
        .iter()
        .filter(is_masked)
        .filter_map(|(reader, number)| {
            let row = readers[*reader as usize].footer().row(*number);
            let known = index.get(row.resource_type, row.id)?;
            let differs = !known.is_tombstone && known.content_hash != row.content_hash;
            differs.then_some(Rival {
                staged: (*reader, *number),
                batch_seq: known.batch_seq,
                row: known.row,
            })
        })
        .collect()
}

/// How many of these rows there are of each type.
pub(crate) fn count_by_type(
    readers: &[SegmentReader],
    rows: &HashSet<At>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (reader, number) in rows {
        let (resource_type, _) = readers[*reader as usize].footer().key(*number);
        *counts.entry(resource_type.to_owned()).or_default() += 1;
    }
    counts
}

/// Of masked copies, those that would replace a whole one.
///
/// # Errors
/// [`Error::NotFound`] where the log has no such batch any more: read it again.
pub(crate) async fn left_out(
    store: &Store,
    log: &[BatchRef],
    mut rivals: Vec<Rival>,
) -> Result<HashSet<At>, Error> {
    rivals.sort_unstable_by_key(|rival| (rival.batch_seq, rival.row));
    let mut left_out = HashSet::new();
    for of_batch in rivals.chunk_by(|a, b| a.batch_seq == b.batch_seq) {
        let seq = of_batch[0].batch_seq;
        let batch = log.iter().find(|batch| batch.seq == seq);
        let batch = batch.ok_or_else(|| Error::NotFound {
            object: format!("batch {seq} of the log"),
        })?;
        let reader = SegmentReader::open(store, &batch.key).await?;
        let mut frame = None;
        for rival in of_batch {
            let location = reader.footer().location(rival.row).ok_or(Error::Invalid {
                what: "a live row of the index has no text",
            })?;
            let text = match &frame {
                Some((number, text)) if *number == location.frame => text,
                _ => {
                    let text = reader.read_frame(location.frame as usize).await?;
                    &frame.insert((location.frame, text)).1
                }
            };
            if !is_masked(&slice(text, location.offset, location.length)) {
                left_out.insert(rival.staged);
            }
        }
    }
    Ok(left_out)
}

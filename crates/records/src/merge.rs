//! Merging batches: one segment with the newest row of each key, which keeps its
//! own numbers. A pure function of the store's content; who may drop which
//! tombstone, and the swap of the catalogue, are the maintenance's business.

use bytes::Bytes;

use crate::copy::{Wanted, carry};
use crate::span::{newest, open_all};
use crate::{BatchRef, Error, Footer, SegmentWriter, Store};

/// Merges `batches`, given in any order, into the bytes of one. Tombstones that
/// are newest stay.
///
/// # Errors
/// Those of [`crate::SegmentReader::read_frame`], and [`Error::TooLarge`].
pub async fn merge(store: &Store, batches: &[BatchRef]) -> Result<(Bytes, Footer), Error> {
    let mut batches = batches.to_vec();
    batches.sort();
    let readers = open_all(store, batches.into_iter().map(|batch| batch.key).collect()).await?;
    let connection = readers
        .iter()
        .find_map(|reader| reader.footer().connection());
    if readers
        .iter()
        .any(|reader| reader.footer().connection() != connection)
    {
        return Err(Error::Invalid {
            what: "batches of several connections cannot be merged",
        });
    }
    let (rows, _) = newest(&readers, 0, u64::MAX);
    let mut writer = SegmentWriter::new(connection)?;
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let reader = &readers[rows[0].0 as usize];
        let wanted = |(_, row): &(u32, u32)| Wanted {
            row: *row,
            change: reader.footer().row(*row).change,
        };
        let wanted: Vec<_> = rows.iter().map(wanted).collect();
        carry(&mut writer, reader, &wanted, None).await?;
    }
    writer.finish()
}

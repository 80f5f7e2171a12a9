//! Copying the frames of another segment as they are.

use bytes::Bytes;

use crate::Error;
use crate::segment::footer::{Footer, Frame};
use crate::segment::rows::{Location, RowRef};
use crate::segment::write::SegmentWriter;

impl SegmentWriter {
    /// Copies a frame of another segment: `frame` is one of `source`, `compressed`
    /// its verified bytes. `rows` are the numbers of its rows that still count,
    /// ascending, each with what it says from now on; the others become dead.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a row is not in the frame, no row is left, or a
    /// row's key changes; [`Error::TooLarge`] for more rows than a footer holds.
    pub fn copy_frame<'a>(
        &mut self,
        source: &Footer,
        frame: &Frame,
        compressed: Bytes,
        rows: impl Iterator<Item = (u32, RowRef<'a>)>,
    ) -> Result<(), Error> {
        let first_row = self.rows.rows.len();
        let type_index = self.type_index(source.frame_type(frame))?;
        let mut next = frame.first_row;
        for (number, row) in rows {
            let is_here = number >= next && number - frame.first_row < frame.row_count;
            let location = source.location(number).filter(|_| is_here);
            let location = location.ok_or(Error::Invalid {
                what: "a copied row is not in its frame",
            })?;
            if source.key(number) != (row.resource_type, row.id) || row.is_tombstone() {
                return Err(Error::Invalid {
                    what: "a copied row was renamed",
                });
            }
            next = number + 1;
            self.rows.push(
                type_index,
                row,
                Some(Location {
                    frame: self.frames.len() as u32,
                    ..location
                }),
            )?;
        }
        let row_count = (self.rows.rows.len() - first_row) as u32;
        if row_count == 0 || compressed.len() != frame.size_bytes as usize {
            return Err(Error::Invalid {
                what: "a frame was copied of which nothing counts",
            });
        }
        self.raw_bytes += u64::from(frame.raw_bytes);
        self.add_frame(
            Frame {
                type_index,
                first_row: first_row as u32,
                row_count,
                dead_row_count: frame.dead_row_count + (frame.row_count - row_count),
                ..*frame
            },
            compressed,
        );
        Ok(())
    }
}

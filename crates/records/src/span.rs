//! Reading a connection's log for an export: the newest row of each key among the
//! batches `(from, to]`, one type after another, one frame at a time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::RowMeta;

use crate::newest::{At, newest, newest_by_index, open_all};
use crate::segment::slice;
use crate::{BatchRef, Error, Index, SegmentReader, Store};

/// How many tombstones are handed over at a time; they have no frame.
const TOMBSTONE_COUNT: usize = 1000;

/// One row to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    /// Its columns.
    pub meta: RowMeta,
    /// Its text; empty for a tombstone.
    pub text: Bytes,
}

/// How much there is to deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanSize {
    /// New and changed resources.
    pub resources: u64,
    /// Tombstones.
    pub deletions: u64,
    /// The length of the resources' texts.
    pub bytes: u64,
}

/// The rows of a span. Holds footers (about 100 bytes a row) and, while a frame
/// is read, that frame.
#[derive(Debug)]
pub struct SpanReader {
    readers: Vec<SegmentReader>,
    rows: BTreeMap<String, Vec<At>>,
    planned: u64,
    skipped: u64,
}

impl SpanReader {
    /// Plans the span `(from, to]` of the log `batches`, given in any order.
    ///
    /// With `index`, which must reach to `to`, only the newest rows are looked at
    /// and nothing is skipped; without, all rows of the span are planned and the
    /// older ones of a key skipped. From 0 on, what is gone needs no tombstone.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a batch is gone: read pointer and catalogue
    /// again. [`Error::Corrupt`] naming the index: rebuild it.
    /// [`Error::Invalid`] for an index that ends before `to`, and what the store
    /// says.
    pub async fn open(
        store: &Store,
        batches: &[BatchRef],
        from: u64,
        to: u64,
        index: Option<&Index>,
    ) -> Result<Self, Error> {
        Self::open_for(store, batches, (from, to), index, from > 0).await
    }

    /// As [`SpanReader::open`], tombstones from 0 on included: for whoever has had
    /// some of it before and is sent everything again.
    ///
    /// # Errors
    /// As [`SpanReader::open`].
    pub async fn open_again(
        store: &Store,
        batches: &[BatchRef],
        from: u64,
        to: u64,
        index: Option<&Index>,
    ) -> Result<Self, Error> {
        Self::open_for(store, batches, (from, to), index, true).await
    }

    async fn open_for(
        store: &Store,
        batches: &[BatchRef],
        (from, to): (u64, u64),
        index: Option<&Index>,
        tells_gone: bool,
    ) -> Result<Self, Error> {
        // A batch holds rows up to its own number: those at or below `from` hold
        // nothing, merged ones above `to` may.
        let mut batches: Vec<_> = batches
            .iter()
            .filter(|batch| batch.seq > from)
            .cloned()
            .collect();
        batches.sort();
        if let Some(index) = index {
            if index.last_seq() < to {
                return Err(Error::Invalid {
                    what: "the index ends before the span does",
                });
            }
            let used: BTreeSet<u64> = index
                .iter()
                .map(|entry| entry.batch_seq)
                .filter(|seq| *seq > from)
                .collect();
            batches.retain(|batch| used.contains(&batch.seq));
            let missing = used
                .iter()
                .find(|seq| batches.iter().all(|batch| batch.seq != **seq));
            if let Some(seq) = missing {
                return Err(Error::NotFound {
                    object: format!("batch {seq} named by {}", index.object()),
                });
            }
        }
        let readers = open_all(
            store,
            batches.iter().map(|batch| batch.key.clone()).collect(),
        )
        .await?;
        let (selected, planned) = match index {
            Some(index) => {
                let selected = newest_by_index(&readers, &batches, index, (from, to), tells_gone)?;
                let planned = selected.len() as u64;
                (selected, planned)
            }
            None => {
                let (mut selected, planned) = newest(&readers, from, to);
                if !tells_gone {
                    selected.retain(|(reader, row)| {
                        readers[*reader as usize].footer().location(*row).is_some()
                    });
                }
                (selected, planned)
            }
        };
        let skipped = planned - selected.len() as u64;
        let mut rows: BTreeMap<String, Vec<At>> = BTreeMap::new();
        for at in selected {
            let resource_type = readers[at.0 as usize].footer().key(at.1).0;
            match rows.get_mut(resource_type) {
                Some(rows) => rows.push(at),
                None => drop(rows.insert(resource_type.to_owned(), vec![at])),
            }
        }
        Ok(Self {
            readers,
            rows,
            planned,
            skipped,
        })
    }

    /// How many rows the span has.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.planned
    }

    /// How many of them are not delivered: superseded within the span, or, from 0
    /// on, gone.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The names of the objects it reads, in order. Rows keep their order as long
    /// as these are the same: after a merge they are others.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.readers.iter().map(SegmentReader::object)
    }

    /// How much it delivers.
    #[must_use]
    pub fn size(&self) -> SpanSize {
        let mut size = SpanSize::default();
        for (reader, row) in self.rows.values().flatten() {
            match self.readers[*reader as usize].footer().location(*row) {
                Some(location) => {
                    size.resources += 1;
                    size.bytes += u64::from(location.length);
                }
                None => size.deletions += 1,
            }
        }
        size
    }

    /// The types there are rows of, sorted, and how many rows.
    pub fn types(&self) -> impl Iterator<Item = (&str, u64)> {
        self.rows
            .iter()
            .map(|(name, rows)| (name.as_str(), rows.len() as u64))
    }

    /// The rows of one type: by batch, then by row. The order is the same each
    /// time the same span is opened from the same [`SpanReader::objects`].
    #[must_use]
    pub fn rows_of(&self, resource_type: &str) -> TypeRows<'_> {
        TypeRows {
            span: self,
            rest: self.rows.get(resource_type).map_or(&[], Vec::as_slice),
        }
    }
}

/// The rows of one type that are not read yet.
#[derive(Debug)]
pub struct TypeRows<'a> {
    span: &'a SpanReader,
    rest: &'a [At],
}

impl TypeRows<'_> {
    /// Leaves out the next `row_count` rows: an attempt goes on where another
    /// stopped.
    pub fn skip_rows(&mut self, row_count: u64) {
        let count = usize::try_from(row_count)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        self.rest = &self.rest[count..];
    }

    /// The next rows: those of one frame (up to 1 MiB of text, or one larger
    /// resource), or up to 1,000 tombstones. `None` at the end.
    ///
    /// # Errors
    /// Those of [`SegmentReader::read_frame`].
    pub async fn next_frame(&mut self) -> Result<Option<Vec<ExportRow>>, Error> {
        let Some(&(reader_number, first)) = self.rest.first() else {
            return Ok(None);
        };
        let reader = &self.span.readers[reader_number as usize];
        let footer = reader.footer();
        let frame = footer.location(first).map(|location| location.frame);
        let is_next =
            |at: &&At| at.0 == reader_number && footer.location(at.1).map(|at| at.frame) == frame;
        let count_max = if frame.is_some() {
            usize::MAX
        } else {
            TOMBSTONE_COUNT
        };
        let count = self.rest.iter().take(count_max).take_while(is_next).count();
        let text = match frame {
            Some(frame) => reader.read_frame(frame as usize).await?,
            None => Bytes::new(),
        };
        let (here, rest) = self.rest.split_at(count);
        self.rest = rest;
        let row = |at: &At| ExportRow {
            meta: footer.row(at.1).to_meta(),
            text: footer
                .location(at.1)
                .map_or_else(Bytes::new, |at| slice(&text, at.offset, at.length)),
        };
        Ok(Some(here.iter().map(row).collect()))
    }
}

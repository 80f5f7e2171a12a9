//! The index of a connection: for each (type, id) ever met, the hash of its newest
//! content and the row that holds it. A cache: the footers of the batches say the
//! same, and [`Index::rebuild`] reads it from them.

mod format;

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use model::{ContentHash, ObjectKey};

use crate::keys::KeyTable;
use crate::{Error, Footer, SegmentReader, Store};

/// The largest index before compression, hashes apart (256 MiB): above 3 million
/// resources with 45-character ids.
const RAW_BYTES_MAX: u64 = 256 << 20;

/// How many footers are read at a time.
pub(crate) const OPEN_CONCURRENCY: usize = 8;

/// A batch of a connection's log, as the catalogue names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchRef {
    /// Its number: that of its rows, or of the newest where it was merged.
    pub seq: u64,
    /// The name of the object.
    pub key: String,
}

/// What the index knows of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry<'a> {
    /// `resourceType`.
    pub resource_type: &'a str,
    /// `id`.
    pub id: &'a str,
    /// The hash of its newest content; of a tombstone, of its last.
    pub content_hash: ContentHash,
    /// The number of the batch *object* that holds its newest row: a
    /// [`BatchRef::seq`]. In a merged batch the row's own number may be lower.
    pub batch_seq: u64,
    /// The number of that row in the batch's footer.
    pub row: u32,
    /// Whether it is gone.
    pub is_tombstone: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    type_index: u16,
    is_tombstone: bool,
    id_end: u32,
    row: u32,
    batch_seq: u64,
    content_hash: ContentHash,
}

/// The index of one connection, in memory: about 100 bytes a resource.
#[derive(Debug, Clone, Default)]
pub struct Index {
    object: String,
    last_seq: u64,
    types: Vec<String>,
    type_indexes: HashMap<String, u16>,
    ids: String,
    entries: Vec<Entry>,
    keys: KeyTable,
}

impl Index {
    /// The index of an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            object: "index in memory".to_owned(),
            ..Self::default()
        }
    }

    /// Reads an index object.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::NotFound`], after which it is rebuilt;
    /// [`Error::UnsupportedVersion`], and what the store says.
    pub async fn load(store: &Store, object: &str) -> Result<Self, Error> {
        Self::parse(object, &store.get(object).await?)
    }

    /// Reads the index from the footers of `batches`, the whole log in any order.
    ///
    /// # Errors
    /// Those of [`SegmentReader::open`].
    pub async fn rebuild(store: &Store, batches: &[BatchRef]) -> Result<Self, Error> {
        let mut batches = batches.to_vec();
        batches.sort();
        let mut index = Self::new();
        let mut readers = futures::stream::iter(batches)
            .map(|batch| {
                let store = store.clone();
                async move {
                    Ok::<_, Error>((batch.seq, SegmentReader::open(&store, &batch.key).await?))
                }
            })
            .buffered(OPEN_CONCURRENCY);
        while let Some((seq, reader)) = readers.try_next().await? {
            index.apply(seq, reader.footer())?;
        }
        Ok(index)
    }

    /// Takes in batch object number `seq`, newer than all before.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is not newer; [`Error::TooLarge`].
    pub fn apply(&mut self, seq: u64, footer: &Footer) -> Result<(), Error> {
        if seq <= self.last_seq {
            return Err(Error::Invalid {
                what: "batches must be applied to an index in order",
            });
        }
        for (number, row) in (0..).zip(footer.rows()) {
            let hash = self.keys.hash(row.resource_type, row.id);
            let slot = match self.find(hash, row.resource_type, row.id) {
                Some(slot) => slot,
                None => self.add(hash, row.resource_type, row.id)?,
            };
            let entry = &mut self.entries[slot as usize];
            entry.content_hash = row.content_hash;
            entry.batch_seq = seq;
            entry.row = number;
            entry.is_tombstone = row.is_tombstone();
        }
        self.last_seq = seq;
        Ok(())
    }

    /// Writes the index as a new object and returns its size.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and what the store says.
    pub async fn save(&self, store: &Store, key: &ObjectKey) -> Result<u64, Error> {
        let bytes = self.encode()?;
        let size_bytes = bytes.len() as u64;
        store.put_create(key, bytes).await?;
        Ok(size_bytes)
    }

    /// The index as bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn encode(&self) -> Result<Bytes, Error> {
        format::encode(self)
    }

    /// Reads the bytes of the object named `object`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::UnsupportedVersion`].
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self, Error> {
        format::decode(object, bytes)
    }

    /// The number of the last batch it knows; 0 for none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many keys it knows, gone ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of a resource.
    #[must_use]
    pub fn get(&self, resource_type: &str, id: &str) -> Option<IndexEntry<'_>> {
        self.place(resource_type, id).map(|place| self.entry(place))
    }

    /// Whether a resource is there, and as it was when it had this hash.
    #[must_use]
    pub fn holds(&self, resource_type: &str, id: &str, content_hash: ContentHash) -> bool {
        self.get(resource_type, id)
            .is_some_and(|entry| !entry.is_tombstone && entry.content_hash == content_hash)
    }

    /// The place of a resource in the order of [`Index::iter`].
    pub(crate) fn place(&self, resource_type: &str, id: &str) -> Option<usize> {
        self.find(self.keys.hash(resource_type, id), resource_type, id)
            .map(|slot| slot as usize)
    }

    /// Everything known, in the order in which it was met.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IndexEntry<'_>> {
        (0..self.entries.len()).map(|slot| self.entry(slot))
    }

    /// The name of the object it was read from.
    pub(crate) fn object(&self) -> &str {
        &self.object
    }

    fn find(&self, hash: u64, resource_type: &str, id: &str) -> Option<u32> {
        self.keys.find(hash, |slot| {
            let entry = self.entry(slot as usize);
            entry.id == id && entry.resource_type == resource_type
        })
    }

    fn entry(&self, slot: usize) -> IndexEntry<'_> {
        let entry = &self.entries[slot];
        let start = slot
            .checked_sub(1)
            .map_or(0, |before| self.entries[before].id_end);
        IndexEntry {
            resource_type: &self.types[usize::from(entry.type_index)],
            id: &self.ids[start as usize..entry.id_end as usize],
            content_hash: entry.content_hash,
            batch_seq: entry.batch_seq,
            row: entry.row,
            is_tombstone: entry.is_tombstone,
        }
    }

    fn add(&mut self, hash: u64, resource_type: &str, id: &str) -> Result<u32, Error> {
        let type_index = match self.type_indexes.get(resource_type) {
            Some(index) => *index,
            None => {
                let index = u16::try_from(self.types.len()).map_err(|_| Error::Invalid {
                    what: "too many resource types",
                })?;
                self.types.push(resource_type.to_owned());
                self.type_indexes.insert(resource_type.to_owned(), index);
                index
            }
        };
        self.ids.push_str(id);
        let size_bytes = self.ids.len() as u64;
        if size_bytes > RAW_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "index",
                size_bytes,
                size_bytes_max: RAW_BYTES_MAX,
            });
        }
        self.entries.push(Entry {
            type_index,
            is_tombstone: false,
            // Below RAW_BYTES_MAX, so it fits.
            id_end: self.ids.len() as u32,
            row: 0,
            batch_seq: 0,
            content_hash: ContentHash([0; 16]),
        });
        Ok(self.keys.add(hash))
    }
}

//! The rows of a segment in memory: fixed-size records and three strings, so that
//! the footers of a 200,000-resource connection fit in some 30 MB.

use model::{Change, ContentHash, Head, Reason, ResourceKey, RowMeta, Timestamp};

use crate::Error;
use crate::segment::FOOTER_RAW_BYTES_MAX;

/// `frame` of a tombstone.
pub(super) const NO_FRAME: u32 = u32::MAX;

/// A borrowed [`RowMeta`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// `resourceType`.
    pub resource_type: &'a str,
    /// `id`.
    pub id: &'a str,
    /// `meta.versionId`.
    pub version_id: Option<&'a str>,
    /// `meta.lastUpdated`, as text.
    pub last_updated: Option<&'a str>,
    /// What happened.
    pub change: Change,
    /// Why, for a tombstone.
    pub reason: Reason,
    /// The content hash; of a tombstone, that of the last body.
    pub content_hash: ContentHash,
    /// When the resource was fetched.
    pub fetched_at: Timestamp,
    /// The number of the batch in its connection's log; 0 while staged.
    pub batch_seq: u64,
    /// The deployment-wide order of settles; 0 while staged.
    pub settle_seq: u64,
}

impl RowRef<'_> {
    /// Whether the resource is gone; there is no text then.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.change == Change::Deleted
    }

    /// An owned copy.
    #[must_use]
    pub fn to_meta(&self) -> RowMeta {
        RowMeta {
            head: Head {
                resource_type: self.resource_type.to_owned(),
                id: self.id.to_owned(),
                version_id: self.version_id.map(str::to_owned),
                last_updated: self.last_updated.map(str::to_owned),
            },
            change: self.change,
            reason: self.reason,
            content_hash: self.content_hash,
            fetched_at: self.fetched_at,
            batch_seq: self.batch_seq,
            settle_seq: self.settle_seq,
        }
    }

    /// The row's key, owned.
    #[must_use]
    pub fn to_key(&self) -> ResourceKey {
        ResourceKey {
            resource_type: self.resource_type.to_owned(),
            id: self.id.to_owned(),
        }
    }
}

impl<'a> From<&'a RowMeta> for RowRef<'a> {
    fn from(meta: &'a RowMeta) -> Self {
        Self {
            resource_type: &meta.head.resource_type,
            id: &meta.head.id,
            version_id: meta.head.version_id.as_deref(),
            last_updated: meta.head.last_updated.as_deref(),
            change: meta.change,
            reason: meta.reason,
            content_hash: meta.content_hash,
            fetched_at: meta.fetched_at,
            batch_seq: meta.batch_seq,
            settle_seq: meta.settle_seq,
        }
    }
}

/// Where the text of a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The frame, as an index into the frame table.
    pub frame: u32,
    /// Where the text begins in the frame's raw text, in bytes.
    pub offset: u32,
    /// The length of the text in bytes, without its line feed.
    pub length: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) type_index: u16,
    pub(super) change: Change,
    pub(super) reason: Reason,
    pub(super) has_version: bool,
    pub(super) has_updated: bool,
    pub(super) id_end: u32,
    pub(super) version_end: u32,
    pub(super) updated_end: u32,
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) content_hash: ContentHash,
    pub(super) fetched_at: i64,
    pub(super) batch_seq: u64,
    pub(super) settle_seq: u64,
}

/// Rows in the order of the footer. The ends point into the strings; each text
/// begins where the one before it ends.
#[derive(Debug, Clone, Default)]
pub(super) struct RowTable {
    pub(super) rows: Vec<Row>,
    pub(super) ids: String,
    pub(super) versions: String,
    pub(super) updated: String,
}

impl RowTable {
    /// Adds a row; `location` is `None` for a tombstone.
    pub(super) fn push(
        &mut self,
        type_index: u16,
        row: RowRef<'_>,
        location: Option<Location>,
    ) -> Result<(), Error> {
        self.ids.push_str(row.id);
        self.versions.push_str(row.version_id.unwrap_or_default());
        self.updated.push_str(row.last_updated.unwrap_or_default());
        let text_bytes = self.text_bytes();
        if text_bytes > FOOTER_RAW_BYTES_MAX {
            return Err(footer_too_large(text_bytes));
        }
        let location = location.unwrap_or(Location {
            frame: NO_FRAME,
            offset: 0,
            length: 0,
        });
        self.rows.push(Row {
            type_index,
            change: row.change,
            reason: row.reason,
            has_version: row.version_id.is_some(),
            has_updated: row.last_updated.is_some(),
            // Below FOOTER_RAW_BYTES_MAX, so they fit.
            id_end: self.ids.len() as u32,
            version_end: self.versions.len() as u32,
            updated_end: self.updated.len() as u32,
            frame: location.frame,
            offset: location.offset,
            length: location.length,
            content_hash: row.content_hash,
            fetched_at: row.fetched_at.0,
            batch_seq: row.batch_seq,
            settle_seq: row.settle_seq,
        });
        Ok(())
    }

    /// Adds the rows of `other` behind these, as rows of `frame`.
    pub(super) fn append(&mut self, other: &Self, frame: u32) -> Result<(), Error> {
        let (ids, versions, updated) = (self.ids.len(), self.versions.len(), self.updated.len());
        self.ids.push_str(&other.ids);
        self.versions.push_str(&other.versions);
        self.updated.push_str(&other.updated);
        let text_bytes = self.text_bytes();
        if text_bytes > FOOTER_RAW_BYTES_MAX {
            return Err(footer_too_large(text_bytes));
        }
        self.rows.extend(other.rows.iter().map(|row| Row {
            id_end: row.id_end + ids as u32,
            version_end: row.version_end + versions as u32,
            updated_end: row.updated_end + updated as u32,
            frame,
            ..*row
        }));
        Ok(())
    }

    fn text_bytes(&self) -> u64 {
        (self.ids.len() + self.versions.len() + self.updated.len()) as u64
    }

    /// The start of each text of row `at`: the ends of the row before it.
    fn starts(&self, at: usize) -> (u32, u32, u32) {
        match at.checked_sub(1) {
            None => (0, 0, 0),
            Some(before) => {
                let row = &self.rows[before];
                (row.id_end, row.version_end, row.updated_end)
            }
        }
    }

    /// The id of row `at` alone.
    pub(super) fn id(&self, at: usize) -> &str {
        cut(&self.ids, self.starts(at).0, self.rows[at].id_end)
    }

    /// Row `at`, of the type that `types` names.
    pub(super) fn get<'a>(&'a self, types: &'a [String], at: usize) -> RowRef<'a> {
        let row = &self.rows[at];
        let (id, version, updated) = self.starts(at);
        RowRef {
            resource_type: &types[usize::from(row.type_index)],
            id: cut(&self.ids, id, row.id_end),
            version_id: row
                .has_version
                .then(|| cut(&self.versions, version, row.version_end)),
            last_updated: row
                .has_updated
                .then(|| cut(&self.updated, updated, row.updated_end)),
            change: row.change,
            reason: row.reason,
            content_hash: row.content_hash,
            fetched_at: Timestamp(row.fetched_at),
            batch_seq: row.batch_seq,
            settle_seq: row.settle_seq,
        }
    }
}

fn cut(text: &str, start: u32, end: u32) -> &str {
    &text[start as usize..end as usize]
}

pub(super) fn footer_too_large(size_bytes: u64) -> Error {
    Error::TooLarge {
        what: "segment footer",
        size_bytes,
        size_bytes_max: FOOTER_RAW_BYTES_MAX,
    }
}

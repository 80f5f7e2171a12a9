//! A patient's record: the newest live resources of all its connections, as they
//! stood when the first page was asked for. A cursor pins the index of each log, so
//! that pulls which settle meanwhile move nothing between pages.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Bytes;
use db::Db;
use futures::Stream;
use model::{BatchId, ConnectionId, ObjectKey, PatientId, Timestamp};
use records::{BatchRef, Index, SegmentReader, Store};

use crate::problem::{CURSOR_EXPIRED, Problem};

/// Connections of one patient: one a source.
const CONNECTIONS_MAX: u32 = 1000;
/// What a cursor begins with: others can follow.
const CURSOR_KIND: &str = "1-";
/// In the place of an index that is not pinned: the log is read from its footers.
const NO_DIGITS: &str = "00000000000000000000000000000000";

/// Which resources are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// These types; all where there are none.
    pub(crate) types: Vec<String>,
    /// Those whose live version was pulled then or later.
    pub(crate) since: Option<Timestamp>,
    /// Those of this connection; of all where there is none.
    pub(crate) connection: Option<ConnectionId>,
}

/// Where a page ends, and what the next one is read from.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    logs: Vec<PinnedLog>,
    /// Resources before it.
    pub(crate) at: usize,
}

#[derive(Debug, Clone)]
struct PinnedLog {
    connection: ConnectionId,
    head: u64,
    index: Option<String>,
}

/// A patient's record, ready to be read: about 100 bytes a resource.
pub(crate) struct Record {
    logs: Vec<PinnedLog>,
    /// Where each live resource is, in the order in which they lie.
    rows: Vec<At>,
    objects: Vec<Object>,
    store: Store,
}

#[derive(Debug, Clone, Copy)]
struct At {
    object: u32,
    row: u32,
}

struct Object {
    key: String,
    /// Before the type and id of each resource in it.
    base: Arc<str>,
}

/// A resource and its place at the source.
pub(crate) struct Resource {
    pub(crate) full_url: String,
    pub(crate) text: Bytes,
}

impl Cursor {
    /// `1-AT`, and for each log `~CONNECTION-HEAD-DIGITS`, the digits those of the
    /// batch whose index is pinned, or zeros.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("{CURSOR_KIND}{}", self.at);
        for log in &self.logs {
            let digits = log
                .index
                .as_deref()
                .and_then(index_digits)
                .unwrap_or(NO_DIGITS);
            let _ = write!(text, "~{}-{}-{digits}", log.connection, log.head);
        }
        text
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Problem> {
        let read = || {
            let mut parts = text.strip_prefix(CURSOR_KIND)?.split('~');
            let at = parts.next()?.parse().ok()?;
            let logs: Option<Vec<PinnedLog>> = parts.map(PinnedLog::decode).collect();
            Some(Self { logs: logs?, at })
        };
        read().ok_or_else(|| {
            Problem::parameter(
                "`cursor` is not one of this record's: take it from the `next` link.",
            )
        })
    }
}

impl PinnedLog {
    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let connection: ConnectionId = parts.next()?.parse().ok()?;
        let head: u64 = parts.next()?.parse().ok()?;
        let digits = parts.next()?;
        let id: BatchId = format!("{}{digits}", BatchId::PREFIX).parse().ok()?;
        let index = ObjectKey::Index {
            connection,
            seq: head,
            batch: id,
        };
        parts.next().is_none().then(|| Self {
            connection,
            head,
            index: (digits != NO_DIGITS).then(|| index.to_string()),
        })
    }
}

/// The digits of the batch's id in the name of an index.
fn index_digits(key: &str) -> Option<&str> {
    let (_, rest) = key.rsplit_once(BatchId::PREFIX)?;
    rest.get(..NO_DIGITS.len())
}

impl Record {
    /// The record as it stands now, or as the cursor pins it.
    pub(crate) async fn open(
        db: &Db,
        store: &Store,
        patient: PatientId,
        wanted: &Wanted,
        cursor: Option<&Cursor>,
    ) -> Result<Self, Problem> {
        let mut record = Self {
            logs: Vec::new(),
            rows: Vec::new(),
            objects: Vec::new(),
            store: store.clone(),
        };
        let mut connections = db
            .newest_connections(Some(patient), None, None, CONNECTIONS_MAX)
            .await?;
        if let Some(id) = wanted.connection {
            connections.retain(|connection| connection.id == id);
            if connections.is_empty() {
                let noun = "connection of this patient";
                let id = id.to_string();
                return Err(db::Error::NotFound { noun, id }.into());
            }
        }
        for connection in connections {
            let log = match cursor {
                None => {
                    let head = db.log_head(connection.id).await?;
                    PinnedLog {
                        connection: connection.id,
                        head: head.head_seq,
                        index: head.index_key,
                    }
                }
                // A connection that was added since the first page is not in it.
                Some(cursor) => {
                    let pinned = cursor
                        .logs
                        .iter()
                        .find(|log| log.connection == connection.id);
                    match pinned {
                        Some(log) => log.clone(),
                        None => continue,
                    }
                }
            };
            let source = db.source(&connection.source_id.to_string()).await?;
            record.add(db, log, &source.identity, wanted).await?;
        }
        Ok(record)
    }

    /// How many resources it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What to give for the resources from `at` on.
    pub(crate) fn cursor(&self, at: usize) -> Cursor {
        Cursor {
            logs: self.logs.clone(),
            at,
        }
    }

    async fn add(
        &mut self,
        db: &Db,
        log: PinnedLog,
        identity: &str,
        wanted: &Wanted,
    ) -> Result<(), Problem> {
        let batches = db.batches(log.connection, 0, log.head).await?;
        let batches: Vec<BatchRef> = batches
            .into_iter()
            .map(|batch| BatchRef {
                seq: batch.seq,
                key: batch.object_key,
            })
            .collect();
        let index = match &log.index {
            Some(key) => Index::load(&self.store, key).await.map_err(unreadable)?,
            None => Index::rebuild(&self.store, &batches)
                .await
                .map_err(unreadable)?,
        };
        let mut live: Vec<(u64, u32)> = index
            .iter()
            .filter(|entry| !entry.is_tombstone)
            .filter(|entry| {
                wanted.types.is_empty() || wanted.types.iter().any(|ty| ty == entry.resource_type)
            })
            .map(|entry| (entry.batch_seq, entry.row))
            .collect();
        live.sort_unstable();
        let base: Arc<str> = format!("https://{identity}").into();
        let mut rest = &live[..];
        while let Some((seq, _)) = rest.first() {
            let (of_batch, after) = rest.split_at(rest.partition_point(|(of, _)| of == seq));
            let batch = batches
                .iter()
                .find(|batch| batch.seq == *seq)
                .ok_or_else(gone)?;
            let object = u32::try_from(self.objects.len()).map_err(|_| Problem::internal())?;
            let mut rows: Vec<u32> = of_batch.iter().map(|(_, row)| *row).collect();
            if let Some(since) = wanted.since {
                let reader = SegmentReader::open(&self.store, &batch.key)
                    .await
                    .map_err(unreadable)?;
                let count = reader.footer().row_count();
                rows.retain(|row| *row < count && reader.footer().row(*row).fetched_at >= since);
            }
            self.objects.push(Object {
                key: batch.key.clone(),
                base: Arc::clone(&base),
            });
            self.rows
                .extend(rows.into_iter().map(|row| At { object, row }));
            rest = after;
        }
        self.logs.push(log);
        Ok(())
    }

    /// The resources from number `from` to before number `to`, one frame in memory.
    pub(crate) fn read(
        self,
        from: usize,
        to: usize,
    ) -> impl Stream<Item = Result<Resource, records::Error>> + Send + 'static {
        let to = to.min(self.rows.len());
        let reading = Reading {
            next: from.min(to),
            to,
            record: self,
            open: None,
        };
        futures::stream::try_unfold(reading, async |mut reading| {
            let resource = reading.next().await?;
            Ok(resource.map(|resource| (resource, reading)))
        })
    }
}

struct Reading {
    record: Record,
    next: usize,
    to: usize,
    open: Option<Open>,
}

/// The object that is being read, and its last frame.
struct Open {
    number: u32,
    reader: SegmentReader,
    frame: Option<(u32, Bytes)>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Resource>, records::Error> {
        if self.next >= self.to {
            return Ok(None);
        }
        let at = self.record.rows[self.next];
        self.next += 1;
        let object = &self.record.objects[at.object as usize];
        let open = match self.open.take().filter(|open| open.number == at.object) {
            Some(open) => open,
            None => Open {
                number: at.object,
                reader: SegmentReader::open(&self.record.store, &object.key).await?,
                frame: None,
            },
        };
        let open = self.open.insert(open);
        let text = open.text(at.row).await?;
        let row = open.reader.footer().row(at.row);
        Ok(Some(Resource {
            full_url: format!("{}/{}/{}", object.base, row.resource_type, row.id),
            text,
        }))
    }
}

impl Open {
    async fn text(&mut self, row: u32) -> Result<Bytes, records::Error> {
        let invalid = || records::Error::Invalid {
            what: "the index names a row that the batch has not",
        };
        if row >= self.reader.footer().row_count() {
            return Err(invalid());
        }
        let location = self.reader.footer().location(row).ok_or_else(invalid)?;
        let frame = match self
            .frame
            .take()
            .filter(|(number, _)| *number == location.frame)
        {
            Some((_, text)) => text,
            None => self.reader.read_frame(location.frame as usize).await?,
        };
        let (start, end) = (
            location.offset as usize,
            location.offset as usize + location.length as usize,
        );
        let text = (end <= frame.len()).then(|| frame.slice(start..end));
        self.frame = Some((location.frame, frame));
        text.ok_or_else(invalid)
    }
}

/// What a reader finds where a log was merged, or an index forgotten, meanwhile.
fn gone() -> Problem {
    let detail = "The record was put in order since the page before, which is too long ago: ask again from the start.";
    Problem::new(CURSOR_EXPIRED, detail)
}

fn unreadable(error: records::Error) -> Problem {
    if matches!(error, records::Error::NotFound { .. }) {
        return gone();
    }
    tracing::error!(%error, "a record could not be read");
    Problem::internal()
}

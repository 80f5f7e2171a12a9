//! A patient's record: the newest live resources of all its connections, as they
//! stood when the first page was asked for.

mod cursor;
mod reading;

use std::sync::Arc;

use db::Db;
use model::{ConnectionId, PatientId, Timestamp};
use records::{BatchRef, Index, SegmentReader, Store};

use self::cursor::PinnedLog;
use crate::problem::{CURSOR_EXPIRED, Problem};

pub(crate) use cursor::Cursor;
pub(crate) use reading::Resource;

/// Connections of one patient: one a source.
const CONNECTIONS_MAX: u32 = 1000;

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

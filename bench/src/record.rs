//! A connection's record, prepared outside every measurement: staging objects
//! and a first batch, as a pull leaves them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use model::{BatchId, ConnectionId, ObjectKey, PullId, RawResource, Timestamp};
use records::{
    BatchRef, Index, Numbers, Settle, Settled, SpanReader, StagingWriter, Store, settle,
};

use crate::corpus::{Corpus, digest};

/// A connection with one batch.
pub(crate) struct Record {
    pub(crate) store: Store,
    pub(crate) connection: ConnectionId,
    /// The staging of the first batch.
    pub(crate) staging: Vec<String>,
    pub(crate) batch: BatchRef,
    pub(crate) index_key: String,
}

impl Record {
    /// Stages and settles the whole corpus, unchanged.
    pub(crate) async fn create(folder: &Path, corpus: &Corpus) -> Result<Self> {
        let store = Store::open_local(folder)?;
        let connection = ConnectionId::new();
        let staging = stage(&store, connection, corpus.iter(0)).await?;
        let settled = settle_as(&store, connection, &staging, None, 1).await?;
        let batch = settled.batch.context("the first settle wrote no batch")?;
        ensure!(
            batch.row_count == corpus.resources as u64,
            "the corpus has ids twice"
        );
        Ok(Self {
            store,
            connection,
            staging,
            batch: BatchRef {
                seq: 1,
                key: batch.key,
            },
            index_key: batch.index_key,
        })
    }

    /// The newest rows with `later` batches on top: how many, and their digests'
    /// sum.
    pub(crate) async fn digest(
        &self,
        later: Option<BatchRef>,
        index_key: &str,
    ) -> Result<(u64, u128)> {
        let index = Index::load(&self.store, index_key).await?;
        let batches: Vec<_> = std::iter::once(self.batch.clone()).chain(later).collect();
        let span =
            SpanReader::open(&self.store, &batches, 0, index.last_seq(), Some(&index)).await?;
        let (mut count, mut sum, mut buffer) = (0, 0_u128, Vec::new());
        for (name, _) in span.types() {
            let mut rows = span.rows_of(name);
            while let Some(frame) = rows.next_frame().await? {
                for row in frame {
                    count += 1;
                    sum = sum.wrapping_add(digest(name, &row.meta.head.id, &row.text, &mut buffer));
                }
            }
        }
        Ok((count, sum))
    }
}

/// Stages resources as `pull.pages` does, and returns the objects' names.
pub(crate) async fn stage(
    store: &Store,
    connection: ConnectionId,
    resources: impl Iterator<Item = Result<RawResource>>,
) -> Result<Vec<String>> {
    let mut stager = Stager::new(store.clone(), connection)?;
    let now = Timestamp::now();
    for resource in resources {
        stager.push(&resource?, now).await?;
    }
    stager.finish().await
}

/// Writes staging objects one after another.
pub(crate) struct Stager {
    store: Store,
    connection: ConnectionId,
    pull: PullId,
    writer: StagingWriter,
    keys: Vec<String>,
}

impl Stager {
    pub(crate) fn new(store: Store, connection: ConnectionId) -> Result<Self> {
        let writer = StagingWriter::new(connection)?;
        Ok(Self {
            store,
            connection,
            pull: PullId::new(),
            writer,
            keys: Vec::new(),
        })
    }

    /// Adds a resource; a full object is made durable.
    pub(crate) async fn push(&mut self, resource: &RawResource, now: Timestamp) -> Result<()> {
        self.writer.push(resource, now)?;
        if self.writer.ready() {
            self.close().await
        } else {
            Ok(())
        }
    }

    /// The names of all objects.
    pub(crate) async fn finish(mut self) -> Result<Vec<String>> {
        if !self.writer.is_empty() {
            self.close().await?;
        }
        Ok(self.keys)
    }

    async fn close(&mut self) -> Result<()> {
        let writer = std::mem::replace(&mut self.writer, StagingWriter::new(self.connection)?);
        let key = ObjectKey::Staging {
            connection: self.connection,
            pull: self.pull,
            step: "bench".to_owned(),
            token: "bench".to_owned(),
            number: u32::try_from(self.keys.len()).context("too many staging objects")?,
        };
        self.keys.push(writer.close(&self.store, &key).await?.key);
        Ok(())
    }
}

/// Settles staging as batch number `seq`.
pub(crate) async fn settle_as(
    store: &Store,
    connection: ConnectionId,
    staging: &[String],
    index: Option<Index>,
    seq: u64,
) -> Result<Settled> {
    let numbers = Numbers {
        batch_seq: seq,
        settle_seq: seq,
    };
    let input = Settle {
        connection,
        staging,
        index,
        log: None,
        numbers,
        batch: BatchId::new(),
    };
    Ok(settle(store, input).await?)
}

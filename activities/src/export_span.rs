//! Opening the rows of a span of a log: what a chunk writes, and a rehearsal counts.

use db::{ChunkSpan, Db};
use records::{BatchRef, Index, SpanReader, Store};

use crate::failure::Failure;

/// Times a log that is merged while it is opened is opened again.
const MERGED_MAX: u32 = 5;

/// Opens the rows of a span. The log may be merged at any time: then the batches
/// that were read from the catalogue may be gone, and the index that the plan has
/// pinned names batches that are. What the catalogue then names holds everything
/// of the span that no later batch has replaced, and the next span has that.
pub(crate) async fn open_span(
    db: &Db,
    store: &Store,
    span: &ChunkSpan,
    epoch: u64,
) -> Result<SpanReader, Failure> {
    let mut tries = 1;
    loop {
        match try_open_span(db, store, span, epoch).await {
            Err(OpenError::Records(records::Error::NotFound { .. })) if tries < MERGED_MAX => {
                tries += 1;
            }
            Err(OpenError::Records(error)) => return Err(error.into()),
            Err(OpenError::Database(error)) => return Err(error.into()),
            Ok(reader) => return Ok(reader),
        }
    }
}

enum OpenError {
    Database(db::Error),
    Records(records::Error),
}

/// Of a first delivery through the index that its plan has pinned; where that does
/// not fit what the catalogue names, by the footers alone. Who is sent everything
/// again is told what is gone, too: it may have had it, and not heard of that.
async fn try_open_span(
    db: &Db,
    store: &Store,
    span: &ChunkSpan,
    epoch: u64,
) -> Result<SpanReader, OpenError> {
    let (from, to) = (span.from_seq, span.to_seq);
    let batches = db.batches(span.connection_id, from, to).await;
    let batches: Vec<BatchRef> = batches
        .map_err(OpenError::Database)?
        .into_iter()
        .map(|batch| BatchRef {
            seq: batch.seq,
            key: batch.object_key,
        })
        .collect();
    if let Some(key) = span.index_key.as_ref().filter(|_| from == 0) {
        let opened = match Index::load(store, key).await {
            Ok(index) if index.last_seq() == to => {
                open_rows(store, &batches, span, Some(&index), epoch)
                    .await
                    .map(Some)
            }
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(reader)) => return Ok(reader),
            Ok(None) | Err(records::Error::NotFound { .. } | records::Error::Corrupt { .. }) => {}
            Err(error) => return Err(OpenError::Records(error)),
        }
    }
    open_rows(store, &batches, span, None, epoch)
        .await
        .map_err(OpenError::Records)
}

async fn open_rows(
    store: &Store,
    batches: &[BatchRef],
    span: &ChunkSpan,
    index: Option<&Index>,
    epoch: u64,
) -> Result<SpanReader, records::Error> {
    let (from, to) = (span.from_seq, span.to_seq);
    if epoch > 1 {
        SpanReader::open_again(store, batches, from, to, index).await
    } else {
        SpanReader::open(store, batches, from, to, index).await
    }
}

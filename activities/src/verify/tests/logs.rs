//! Logs that were merged, or that passed numbers over, tell what they still can
//! and are no finding.

use db::{LogJump, LogState, LoggedBatch};
use model::{BatchId, FileFormat, ObjectKey};
use records::{BatchRef, Index, Merge, SegmentReader};

use super::deployment::Deployment;
use crate::verify::rows::Keys;
use crate::verify::store::LogCheck;
use crate::verify::stretch::{Stretch, StretchRows, rows_of};
use crate::verify::{Report, VerifyOptions};

/// The log of the first connection, its first `count` batches merged into one.
async fn merged(deployment: &Deployment, count: usize) -> LogState {
    let (connection, store) = (deployment.connections[0], &deployment.store);
    let mut log = deployment.db.log_state(connection).await.unwrap().unwrap();
    let refs: Vec<_> = log.batches[..count]
        .iter()
        .map(|batch| BatchRef {
            seq: batch.seq,
            key: batch.object_key.clone(),
        })
        .collect();
    let batch = BatchId::new();
    let input = Merge {
        connection,
        batches: &refs,
        drop_tombstones_to: 0,
        batch: BatchId::new(),
    };
    let merged = records::merge(store, input).await.unwrap();
    let merged = LoggedBatch {
        object_key: merged.key,
        row_count: merged.row_count,
        deleted_count: merged.deleted_count,
        size_bytes: merged.size_bytes,
        ..log.batches[count - 1].clone()
    };
    log.batches.splice(..count, [merged]);
    let mut index = Index::new();
    for batch in &log.batches {
        let reader = SegmentReader::open(store, &batch.object_key).await.unwrap();
        index.apply(batch.seq, reader.footer()).unwrap();
    }
    let key = ObjectKey::Index {
        connection,
        seq: log.head_seq,
        batch,
    };
    index.save(store, &key).await.unwrap();
    log.index_key = Some(key.to_string());
    log
}

async fn found(deployment: &Deployment, log: &LogState) -> Vec<&'static str> {
    let mut report = Report::default();
    let options = VerifyOptions { bodies: true };
    LogCheck::new(log, &deployment.store, &options, &mut report)
        .run()
        .await;
    report.findings.iter().map(|finding| finding.code).collect()
}

async fn told(deployment: &Deployment, log: &LogState, from: u64, to: u64) -> Option<StretchRows> {
    let stretch = Stretch {
        connection: log.connection_id,
        from,
        to,
    };
    rows_of(&deployment.store, log, &Keys::default(), stretch, "")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_merged_log_tells_what_is_left_of_it() {
    // A patient in three versions, an observation that goes and one that comes, a
    // practitioner: batches of 3, 3 and 1 rows.
    let deployment = Deployment::with_history(FileFormat::Parquet).await;
    for count in 1..=3 {
        let log = merged(&deployment, count).await;
        assert_eq!(found(&deployment, &log).await, [""; 0], "{count} merged");
        let all = told(&deployment, &log, 0, 3).await.unwrap();
        assert_eq!((all.newest.len(), all.is_whole), (4, true));
    }
    let log = merged(&deployment, 3).await;
    let first = told(&deployment, &log, 0, 1).await.unwrap();
    // The practitioner alone is as it was; of the three others only a later row is left.
    let counts = (first.newest.len(), first.is_whole);
    assert_eq!(counts, (1, false));
    let second = told(&deployment, &log, 1, 2).await.unwrap();
    let counts = (second.newest.len(), second.is_whole);
    assert_eq!(counts, (2, false));

    let log = merged(&deployment, 2).await;
    let third = told(&deployment, &log, 2, 3).await.unwrap();
    assert_eq!((third.newest.len(), third.is_whole), (1, true));
    let across = told(&deployment, &log, 1, 3).await.unwrap();
    assert_eq!((across.newest.len(), across.is_whole), (3, false));
}

#[tokio::test]
async fn a_gap_is_a_finding_unless_numbers_were_passed_over() {
    let deployment = Deployment::with_history(FileFormat::Ndjson).await;
    let connection = deployment.connections[0];
    let sound = deployment.db.log_state(connection).await.unwrap().unwrap();

    let mut log = sound.clone();
    log.batches.remove(1);
    let codes = found(&deployment, &log).await;
    assert_eq!(codes, ["batch_row_missing"]);
    assert!(told(&deployment, &log, 0, 3).await.is_none());
    assert!(told(&deployment, &log, 2, 3).await.is_some());

    // A database that knew less went on above what the store had seen.
    let mut log = sound.clone();
    log.head_seq = 9;
    assert_eq!(found(&deployment, &log).await, ["batch_row_missing"]);
    assert!(told(&deployment, &log, 0, 9).await.is_none());
    log.jumps.push(LogJump {
        after_seq: 3,
        next_seq: 10,
    });
    assert_eq!(found(&deployment, &log).await, [""; 0]);
    let all = told(&deployment, &log, 0, 9).await.unwrap();
    assert_eq!((all.newest.len(), all.is_whole), (4, true));

    let mut log = sound;
    log.head_seq = 2;
    let codes = found(&deployment, &log).await;
    assert_eq!(codes, ["batch_beyond_head"]);
}

//! The log under test: pulls are staged and settled into it.

use chartlift_records::{
    BatchRef, Index, IndexEntry, Numbers, Settle, Settled, StagingWriter, Store, absences, settle,
};
use model::{BatchId, ConnectionId, ObjectKey, PullId, Reason, ResourceKey, Timestamp};

use crate::pulls::{Gone, Pull, key_of, resource};

pub(crate) struct Log {
    pub(crate) store: Store,
    pub(crate) connection: ConnectionId,
    pub(crate) batches: Vec<BatchRef>,
    pub(crate) index_key: Option<String>,
}

impl Log {
    /// Stages and settles a pull; says too what it did not serve again.
    pub(crate) async fn settle(
        &mut self,
        (objects, gone, _): &Pull,
        batch_seq: u64,
    ) -> (Settled, Vec<ResourceKey>) {
        let (pull, mut staging) = (PullId::new(), Vec::new());
        for (number, object) in (0..).zip(objects.iter().filter(|object| !object.is_empty())) {
            let mut writer = StagingWriter::new(self.connection).unwrap();
            for served in object {
                writer
                    .push(&resource(*served), Timestamp(i64::from(served.3)))
                    .unwrap();
            }
            let (step, token) = ("all".to_owned(), "t".to_owned());
            let key = ObjectKey::Staging {
                connection: self.connection,
                pull,
                step,
                token,
                number,
            };
            let staged = writer.close(&self.store, &key).await.unwrap();
            assert_eq!(staged.row_count, object.len() as u64);
            assert_eq!(
                self.store.size_bytes(&staged.key).await.unwrap(),
                staged.size_bytes
            );
            staging.push(staged.key);
        }
        let index = match &self.index_key {
            Some(key) => Some(Index::load(&self.store, key).await.unwrap()),
            None => None,
        };
        let known = index.clone().unwrap_or_default();
        let absent = absences(&self.store, &staging, &known, |_| true)
            .await
            .unwrap();
        let absent = absent.absent.iter().map(|entry| ResourceKey {
            resource_type: entry.resource_type.to_owned(),
            id: entry.id.to_owned(),
        });
        let absent = absent.collect();
        if !gone.is_empty() {
            // First of all: a key that is served later beats it all the same.
            staging.insert(0, self.stage_gone(gone, &known, pull).await);
        }
        let input = Settle {
            connection: self.connection,
            staging: &staging,
            index,
            log: None,
            numbers: Numbers {
                batch_seq,
                settle_seq: 100 + batch_seq,
            },
            batch: BatchId::new(),
        };
        let settled = settle(&self.store, input).await.unwrap();
        if let Some(batch) = &settled.batch {
            assert_eq!(
                self.store.size_bytes(&batch.key).await.unwrap(),
                batch.size_bytes
            );
            self.batches.push(BatchRef {
                seq: batch_seq,
                key: batch.key.clone(),
            });
            self.index_key = Some(batch.index_key.clone());
        }
        (settled, absent)
    }

    async fn stage_gone(&self, gone: &[Gone], known: &Index, pull: PullId) -> String {
        let mut writer = StagingWriter::new(self.connection).unwrap();
        for (kind, id, by_source) in gone {
            let key = key_of(*kind, *id);
            let entry = known.get(&key.resource_type, &key.id);
            let content_hash = match entry {
                Some(entry) if *kind < 128 => entry.content_hash,
                _ => model::ContentHash([7; 16]),
            };
            let entry = IndexEntry {
                resource_type: &key.resource_type,
                id: &key.id,
                content_hash,
                batch_seq: 0,
                row: 0,
                is_tombstone: false,
            };
            let reason = if *by_source {
                Reason::SourceDeleted
            } else {
                Reason::Absent
            };
            writer.push_gone(&entry, reason, Timestamp(7)).unwrap();
        }
        let key = ObjectKey::Staging {
            connection: self.connection,
            pull,
            step: "references".to_owned(),
            token: "t".to_owned(),
            number: 0,
        };
        let staged = writer.close(&self.store, &key).await.unwrap();
        assert_eq!(staged.row_count, gone.len() as u64);
        staged.key
    }
}

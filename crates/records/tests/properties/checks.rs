//! All that a log holds, compared with what the oracle does: its index, its batches,
//! spans of it, and both once it is merged.

use std::collections::BTreeMap;

use chartlift_records::{BatchRef, Index, Merge, SegmentReader, SpanReader, merge};
use model::{BatchId, Change, ResourceKey};

use crate::log::Log;
use crate::oracle::{Oracle, Row};

impl Log {
    async fn check_span(
        &self,
        batches: &[BatchRef],
        oracle: &Oracle,
        from: u64,
        to: u64,
        index: Option<&Index>,
    ) {
        let span = SpanReader::open(&self.store, batches, from, to, index)
            .await
            .unwrap();
        let (expected, row_count) = oracle.span(from, to);
        let mut found = BTreeMap::new();
        let types: Vec<_> = span
            .types()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        assert!(types.is_sorted());
        for (name, count) in types {
            let (mut rows, mut order) = (span.rows_of(&name), Vec::new());
            while let Some(frame) = rows.next_frame().await.unwrap() {
                for row in frame {
                    assert_eq!(row.meta.settle_seq, 100 + row.meta.batch_seq);
                    let (change, reason, hash) =
                        (row.meta.change, row.meta.reason, row.meta.content_hash);
                    let batch_seq = row.meta.batch_seq;
                    order.push(row.meta.head.id.clone());
                    let key = ResourceKey::from(&row.meta.head);
                    assert_eq!(key.resource_type, name);
                    found.insert(
                        key,
                        Row {
                            change,
                            reason,
                            hash,
                            text: row.text,
                            batch_seq,
                        },
                    );
                }
            }
            assert_eq!(order.len() as u64, count);
            let mut rest = span.rows_of(&name);
            rest.skip_rows(count - 1);
            let last = rest.next_frame().await.unwrap().unwrap();
            assert_eq!(
                (last.len(), &last[0].meta.head.id),
                (1, order.last().unwrap())
            );
        }
        assert!(found == expected, "span ({from}, {to}]: {:?}", found.keys());
        assert_eq!(span.planned(), span.skipped() + expected.len() as u64);
        if index.is_none() && batches.len() == self.batches.len() {
            assert_eq!(span.planned(), row_count);
        }
    }

    pub(crate) async fn check(&self, oracle: &Oracle, seed: u8) {
        let head = oracle.head;
        let index = match &self.index_key {
            Some(key) => Index::load(&self.store, key).await.unwrap(),
            None => return,
        };
        let rebuilt = Index::rebuild(&self.store, &self.batches).await.unwrap();
        assert!(index.iter().eq(rebuilt.iter()) && index.len() == oracle.live.len());
        assert_eq!(index.encode().unwrap(), rebuilt.encode().unwrap());
        for (key, row) in &oracle.live {
            let entry = index.get(&key.resource_type, &key.id).unwrap();
            assert_eq!(
                (entry.content_hash, entry.batch_seq),
                (row.hash, row.batch_seq)
            );
            assert_eq!(entry.is_tombstone, row.change == Change::Deleted);
        }
        for batch in &self.batches {
            let reader = SegmentReader::open(&self.store, &batch.key).await.unwrap();
            reader.rehash().await.unwrap();
        }
        let from = u64::from(seed) % (head + 1);
        for index in [None, Some(&index)] {
            self.check_span(&self.batches, oracle, 0, head, index).await;
            self.check_span(&self.batches, oracle, from, head, index)
                .await;
        }
        self.check_span(&self.batches, oracle, from / 2, from, None)
            .await;
        self.check_merged(oracle, from).await;
    }

    async fn check_merged(&self, oracle: &Oracle, from: u64) {
        let merge_to = |drop_tombstones_to| Merge {
            connection: self.connection,
            batches: &self.batches,
            drop_tombstones_to,
            batch: BatchId::new(),
        };
        let told = merge(&self.store, merge_to(from)).await.unwrap();
        let kept = |row: &&Row| row.change != Change::Deleted || row.batch_seq > from;
        let live = oracle.live.values().filter(kept).count();
        assert_eq!(told.row_count, live as u64);
        let written = merge(&self.store, merge_to(0)).await.unwrap();
        assert_eq!(written.row_count, oracle.live.len() as u64);
        assert_eq!(written.seq, oracle.head);
        let size_bytes = self.store.size_bytes(&written.key).await.unwrap();
        assert_eq!(written.size_bytes, size_bytes);
        let merged = [BatchRef {
            seq: oracle.head,
            key: written.key,
        }];
        let told = [BatchRef {
            seq: oracle.head,
            key: told.key,
        }];
        // Who has everything up to `from` reads the same with and without what was
        // dropped; who begins needs no tombstones.
        for from in [0, from] {
            self.check_span(&told, oracle, from, oracle.head, None)
                .await;
        }
        let index = Index::load(&self.store, &written.index_key).await.unwrap();
        let rebuilt = Index::rebuild(&self.store, &merged).await.unwrap();
        assert_eq!(index.encode().unwrap(), rebuilt.encode().unwrap());
        for index in [None, Some(&index)] {
            self.check_span(&merged, oracle, 0, oracle.head, index)
                .await;
            self.check_span(&merged, oracle, from, oracle.head, index)
                .await;
        }
    }
}

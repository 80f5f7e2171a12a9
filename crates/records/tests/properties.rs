//! Random sequences of pulls against a naive copy of the rules in memory: what is
//! written, read, copied, merged and re-hashed must be what a map would hold.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chartlift_records::{
    BatchRef, Index, IndexEntry, Merge, Numbers, SegmentReader, Settle, Settled, SpanReader,
    StagingWriter, Store, absences, merge, settle,
};
use model::{
    BatchId, Change, ConnectionId, ObjectKey, PullCounts, PullId, RawResource, Reason, ResourceKey,
    Timestamp, content_hash, fhir_instant, read_head,
};
use object_store::memory::InMemory;

const TYPES: [&str; 4] = ["Observation", "Patient", "Condition", "Location"];

/// (type, id, content, version): one served resource.
type Served = (u8, u8, u8, u8);
/// (type, id, whether the source said so): evidence of one deletion. With a type of
/// 128 and above, it is of content that has been replaced since.
type Gone = (u8, u8, bool);
/// The staging objects of a pull, what it deletes, and a seed for the spans read.
type Pull = (Vec<Vec<Served>>, Vec<Gone>, u8);

fn resource((kind, id, content, version): Served) -> RawResource {
    let (name, id) = (TYPES[usize::from(kind % 4)], id % 12);
    // Mostly small, some larger than a copied frame must be, a few larger than a frame:
    // those have high numbers, since zero is what failing inputs shrink towards.
    let padding = match content {
        255 => 1_200_000,
        200..255 => 20_000,
        other => usize::from(other),
    };
    let updated = match version % 5 {
        0 => String::new(),
        1 => "\"lastUpdated\":\"2024-01\",".to_owned(),
        other => format!("\"lastUpdated\":\"2024-01-0{other}T00:00:00+0{other}:00\","),
    };
    let text = format!(
        "{{\"resourceType\":\"{name}\",\"id\":\"ü{id}\",\"meta\":{{{updated}\"versionId\":\"{version}\"}},\"v\":{content},\"p\":\"{}\"}}",
        "x".repeat(padding)
    );
    let head = read_head(text.as_bytes()).unwrap();
    RawResource {
        head,
        hash: content_hash(text.as_bytes()),
        text: text.into(),
    }
}

fn key_of(kind: u8, id: u8) -> ResourceKey {
    ResourceKey {
        resource_type: TYPES[usize::from(kind % 4)].to_owned(),
        id: format!("ü{}", id % 12),
    }
}

/// What a row must say.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    change: Change,
    reason: Reason,
    hash: model::ContentHash,
    text: Bytes,
    batch_seq: u64,
}

#[derive(Default)]
struct Oracle {
    live: HashMap<ResourceKey, Row>,
    log: Vec<(ResourceKey, Row)>,
    head: u64,
}

impl Oracle {
    /// What a pull does not serve again: live keys of types that are not shared.
    fn absent(&self, (objects, _, _): &Pull) -> Vec<ResourceKey> {
        let served: Vec<ResourceKey> = objects
            .iter()
            .flatten()
            .map(|served| key_of(served.0, served.1))
            .collect();
        let is_absent = |(key, row): &(&ResourceKey, &Row)| {
            row.change != Change::Deleted
                && key.resource_type != "Location"
                && !served.contains(key)
        };
        let mut absent: Vec<_> = self
            .live
            .iter()
            .filter(is_absent)
            .map(|(key, _)| key.clone())
            .collect();
        absent.sort_by(|a, b| (&a.resource_type, &a.id).cmp(&(&b.resource_type, &b.id)));
        absent
    }

    /// The rules of settle, once more, on a map.
    fn settle(&mut self, (objects, gone, _): &Pull) -> BTreeMap<String, PullCounts> {
        let mut counts: BTreeMap<String, PullCounts> = BTreeMap::new();
        let mut kept: BTreeMap<ResourceKey, RawResource> = BTreeMap::new();
        for served in objects.iter().flatten() {
            let new = resource(*served);
            let count = counts.entry(new.head.resource_type.clone()).or_default();
            count.fetched += 1;
            let key = ResourceKey::from(&new.head);
            let Some(old) = kept.get(&key) else {
                kept.insert(key, new);
                continue;
            };
            *(if old.hash == new.hash {
                &mut count.repeated
            } else {
                &mut count.superseded
            }) += 1;
            let instant = |resource: &RawResource| {
                resource.head.last_updated.as_deref().and_then(fhir_instant)
            };
            let is_older = instant(&new)
                .zip(instant(old))
                .is_some_and(|(new, old)| new < old);
            if !is_older {
                kept.insert(key, new);
            }
        }
        let batch_seq = self.head + 1;
        let mut rows = Vec::new();
        for (kind, id, by_source) in gone.iter().filter(|gone| gone.0 < 128) {
            let key = key_of(*kind, *id);
            let Some(old) = self
                .live
                .get(&key)
                .filter(|row| row.change != Change::Deleted)
            else {
                continue;
            };
            if kept.contains_key(&key) || (!by_source && key.resource_type == "Location") {
                continue;
            }
            let reason = if *by_source {
                Reason::SourceDeleted
            } else {
                Reason::Absent
            };
            let row = Row {
                change: Change::Deleted,
                reason,
                hash: old.hash,
                text: Bytes::new(),
                batch_seq,
            };
            match rows
                .iter_mut()
                .find(|(other, _): &&mut (ResourceKey, Row)| *other == key)
            {
                Some((_, there)) if *by_source => *there = row,
                Some(_) => {}
                None => {
                    counts.entry(key.resource_type.clone()).or_default().deleted += 1;
                    rows.push((key, row));
                }
            }
        }
        for (key, new) in kept {
            let count = counts.entry(key.resource_type.clone()).or_default();
            let change = match self
                .live
                .get(&key)
                .filter(|row| row.change != Change::Deleted)
            {
                None => Change::New,
                Some(old) if old.hash != new.hash => Change::Changed,
                Some(_) => {
                    count.unchanged += 1;
                    continue;
                }
            };
            *(if change == Change::New {
                &mut count.new
            } else {
                &mut count.changed
            }) += 1;
            rows.push((
                key,
                Row {
                    change,
                    reason: Reason::None,
                    hash: new.hash,
                    text: new.text,
                    batch_seq,
                },
            ));
        }
        if !rows.is_empty() {
            self.head = batch_seq;
            self.log.extend(rows.iter().cloned());
            self.live.extend(rows);
        }
        counts
    }

    /// The newest row of each key in (from, to], and how many there are in all.
    fn span(&self, from: u64, to: u64) -> (BTreeMap<ResourceKey, Row>, u64) {
        let in_span = self
            .log
            .iter()
            .filter(|(_, row)| row.batch_seq > from && row.batch_seq <= to);
        let row_count = in_span.clone().count() as u64;
        let mut newest: BTreeMap<_, _> = in_span.cloned().collect();
        newest.retain(|_, row| from > 0 || row.change != Change::Deleted);
        (newest, row_count)
    }
}

struct Log {
    store: Store,
    connection: ConnectionId,
    batches: Vec<BatchRef>,
    index_key: Option<String>,
}

impl Log {
    /// Stages and settles a pull; says too what it did not serve again.
    async fn settle(
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

    async fn check(&self, oracle: &Oracle, seed: u8) {
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

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn pulls_settle_as_a_map_would() {
    let iterations = std::env::var("CHARTLIFT_PROPERTY_ITERATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    bolero::check!()
        .with_type::<Vec<Pull>>()
        .with_iterations(iterations.unwrap_or(300))
        .for_each(|pulls| {
            block_on(async {
                let store = Store::new(Arc::new(InMemory::new()));
                let mut log = Log {
                    store,
                    connection: ConnectionId::new(),
                    batches: Vec::new(),
                    index_key: None,
                };
                let mut oracle = Oracle::default();
                for (objects, gone, seed) in pulls.iter().take(5) {
                    let objects = objects
                        .iter()
                        .take(4)
                        .map(|rows| rows.iter().take(16).copied().collect());
                    let pull = &(objects.collect(), gone.clone(), *seed);
                    let batch_seq = oracle.head + 1;
                    let absent = oracle.absent(pull);
                    let expected = oracle.settle(pull);
                    let (settled, found_absent) = log.settle(pull, batch_seq).await;
                    assert_eq!(found_absent, absent);
                    assert_eq!(settled.counts_by_type, expected);
                    assert!(settled.counts_by_type.values().all(PullCounts::is_true));
                    assert_eq!(settled.batch.is_some(), oracle.head == batch_seq);
                    log.check(&oracle, pull.2).await;
                }
            });
        });
}

//! The naive copy of a log: every row in memory, and a map of the newest.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use model::{Change, ContentHash, PullCounts, RawResource, Reason, ResourceKey, fhir_instant};

use crate::pulls::{Pull, key_of, resource};

/// What a row must say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) change: Change,
    pub(crate) reason: Reason,
    pub(crate) hash: ContentHash,
    pub(crate) text: Bytes,
    pub(crate) batch_seq: u64,
}

#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) live: HashMap<ResourceKey, Row>,
    log: Vec<(ResourceKey, Row)>,
    pub(crate) head: u64,
}

impl Oracle {
    /// What a pull does not serve again: live keys of types that are not shared.
    pub(crate) fn absent(&self, (objects, _, _): &Pull) -> Vec<ResourceKey> {
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
    pub(crate) fn settle(&mut self, (objects, gone, _): &Pull) -> BTreeMap<String, PullCounts> {
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
    pub(crate) fn span(&self, from: u64, to: u64) -> (BTreeMap<ResourceKey, Row>, u64) {
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

//! The portal's rows and their indexes.

use crate::row::{Key, Row};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All rows, in slots that never move, so that a cursor stays valid while rows change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    slots: Vec<Option<Arc<Row>>>,
    by_key: HashMap<Key, Vec<usize>>,
    /// (patient, searched type) to slots, ascending.
    by_owner: BTreeMap<(String, String), Vec<usize>>,
    /// What was removed, and whose it was.
    removed: HashMap<Key, Vec<String>>,
    /// Each type, and whether `?patient=` searches it.
    types: BTreeMap<String, bool>,
}

impl Data {
    /// Adds a row, even where one of the same key exists.
    pub(crate) fn append(&mut self, row: Row) {
        let slot = self.slots.len();
        let ty = row.searched_as().to_owned();
        let searched = ty != "Patient" && !row.owners.is_empty();
        *self.types.entry(ty.clone()).or_default() |= searched;
        for owner in &row.owners {
            self.by_owner
                .entry((owner.clone(), ty.clone()))
                .or_default()
                .push(slot);
        }
        if let Some(key) = &row.key {
            self.by_key.entry(key.clone()).or_default().push(slot);
            self.removed.remove(key);
        }
        self.slots.push(Some(Arc::new(row)));
    }

    /// Replaces all versions of the row's key. A row that names no patient keeps the owners it had.
    pub(crate) fn put(&mut self, mut row: Row) {
        let Some(key) = row.key.clone() else {
            return self.append(row);
        };
        let slots = self.by_key.remove(&key).unwrap_or_default();
        let old: Vec<_> = slots
            .iter()
            .filter_map(|slot| self.slots[*slot].take())
            .collect();
        let owners = self
            .removed
            .remove(&key)
            .or_else(|| old.first().map(|old| old.owners.clone()));
        if row.owners.is_empty() {
            row.owners = owners.unwrap_or_default();
        }
        match slots.first() {
            Some(slot) if old[0].owners == row.owners => {
                self.slots[*slot] = Some(Arc::new(row));
                self.by_key.insert(key, vec![*slot]);
            }
            _ => self.append(row),
        }
    }

    /// Whether there was something to remove.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        let slots = self.by_key.remove(key).unwrap_or_default();
        let old: Vec<_> = slots
            .iter()
            .filter_map(|slot| self.slots[*slot].take())
            .collect();
        if let Some(old) = old.first() {
            self.removed.insert(key.clone(), old.owners.clone());
        }
        !old.is_empty()
    }

    pub(crate) fn is_removed(&self, key: &Key) -> bool {
        self.removed.contains_key(key)
    }

    /// The version of a key that counts.
    pub(crate) fn newest(&self, key: &Key) -> Option<Arc<Row>> {
        let rows = self
            .by_key
            .get(key)?
            .iter()
            .filter_map(|slot| self.slots[*slot].as_ref());
        rows.reduce(|earlier, row| {
            if row.supersedes(earlier) {
                row
            } else {
                earlier
            }
        })
        .map(Arc::clone)
    }

    /// The rows that a patient's search of a type finds from a slot on, with their slots.
    pub(crate) fn search(
        &self,
        patient: &str,
        ty: &str,
        from: usize,
    ) -> impl Iterator<Item = (usize, &Arc<Row>)> {
        let slots = self
            .by_owner
            .get(&(patient.to_owned(), ty.to_owned()))
            .map_or(&[][..], Vec::as_slice);
        let start = slots.partition_point(|slot| *slot < from);
        slots[start..]
            .iter()
            .filter_map(|slot| Some((*slot, self.slots[*slot].as_ref()?)))
    }

    /// All rows of a patient.
    pub(crate) fn owned(&self, patient: &str) -> impl Iterator<Item = &Arc<Row>> {
        let types = self.by_owner.range((patient.to_owned(), String::new())..);
        let slots = types
            .take_while(move |((owner, _), _)| owner == patient)
            .flat_map(|(_, slots)| slots);
        slots.filter_map(|slot| self.slots[*slot].as_ref())
    }

    /// The ids of the patients with a Patient resource, oldest first.
    pub(crate) fn patient_ids(&self) -> impl Iterator<Item = &str> {
        let keys = self
            .slots
            .iter()
            .flatten()
            .filter_map(|row| row.key.as_ref());
        keys.filter(|(ty, _)| ty == "Patient")
            .map(|(_, id)| id.as_str())
    }

    /// The codes of a type's rows by a search parameter.
    pub(crate) fn codes(&self, ty: &str, parameter: &str) -> BTreeSet<String> {
        let rows = self.slots.iter().flatten();
        rows.filter(|row| row.ty() == Some(ty))
            .flat_map(|row| &row.tokens)
            .filter(|(name, _)| *name == parameter)
            .map(|(_, code)| code.clone())
            .collect()
    }

    /// The keys of a type's rows, oldest first.
    pub(crate) fn keys_of(&self, ty: &str) -> impl Iterator<Item = &Key> {
        let keys = self
            .slots
            .iter()
            .flatten()
            .filter_map(|row| row.key.as_ref());
        keys.filter(move |key| key.0 == ty)
    }

    pub(crate) fn types(&self) -> &BTreeMap<String, bool> {
        &self.types
    }
}

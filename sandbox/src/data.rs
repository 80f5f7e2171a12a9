//! The portal's rows and their indexes. A row's text is read once, for its
//! type, id, owners and time, and never written again.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// (type, id)
pub(crate) type Key = (String, String);

/// One version of one resource.
#[derive(Debug)]
pub(crate) struct Row {
    /// `None` without a usable type and id: it is served, but cannot be asked for by name.
    pub(crate) key: Option<Key>,
    /// The patients whose searches find it.
    pub(crate) owners: Vec<String>,
    pub(crate) raw: Bytes,
    ty: Option<String>,
    last_updated: Option<jiff::Timestamp>,
    /// When it was written, where the text does not say; `None` for what was there from
    /// the beginning, which no search by time finds.
    written_us: Option<i64>,
    /// (search parameter, code): what searches by category, intent and status match.
    tokens: Vec<(&'static str, String)>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    #[serde(rename = "resourceType")]
    ty: Value,
    id: Value,
    meta: Value,
    subject: Value,
    patient: Value,
    beneficiary: Value,
    target: Value,
    category: Value,
    intent: Value,
    status: Value,
    #[serde(rename = "lifecycleStatus")]
    lifecycle_status: Value,
}

impl Row {
    /// A text that is not an object, or names a member of the head twice, makes a row without key and owners.
    pub(crate) fn new(raw: Bytes) -> Self {
        let head: Head = serde_json::from_slice(&raw).unwrap_or_default();
        let text = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (ty, id) = (text(&head.ty), text(&head.id));
        let owners = match (ty.as_deref(), &id) {
            (Some("Patient"), Some(id)) => vec![id.clone()],
            (Some("Provenance"), _) => head
                .target
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(patient_in)
                .collect(),
            _ => [&head.subject, &head.patient, &head.beneficiary]
                .into_iter()
                .find_map(patient_in)
                .into_iter()
                .collect(),
        };
        let last_updated = head.meta["lastUpdated"]
            .as_str()
            .and_then(|at| at.parse().ok());
        let mut tokens = Vec::new();
        for (parameter, value) in [
            ("category", &head.category),
            ("intent", &head.intent),
            ("status", &head.status),
            ("lifecycle-status", &head.lifecycle_status),
        ] {
            codes_in(value, &mut |code| tokens.push((parameter, code.to_owned())));
        }
        Self {
            key: ty.clone().zip(id),
            owners,
            raw,
            ty,
            last_updated,
            written_us: None,
            tokens,
        }
    }

    /// The row, written at that time.
    pub(crate) fn written_at(self, at_us: i64) -> Self {
        Self {
            written_us: Some(at_us),
            ..self
        }
    }

    /// Whether a search for what was written since finds it.
    pub(crate) fn is_written_since(&self, since_us: i64) -> bool {
        let said = self.last_updated.map(jiff::Timestamp::as_microsecond);
        said.or(self.written_us).is_some_and(|at| at >= since_us)
    }

    /// Whether a search by this parameter and value (`code` or `system|code`) finds it.
    pub(crate) fn matches(&self, parameter: &str, value: &str) -> bool {
        let code = value.rsplit('|').next().unwrap_or(value);
        self.tokens
            .iter()
            .any(|(name, token)| *name == parameter && token == code)
    }

    /// Whether a search by this parameter can find it.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.tokens.iter().any(|(name, _)| *name == parameter)
    }

    pub(crate) fn ty(&self) -> Option<&str> {
        self.ty.as_deref()
    }

    /// The search that finds the row: what has no type turns up among the observations.
    pub(crate) fn searched_as(&self) -> &str {
        self.ty().unwrap_or("Observation")
    }

    /// Of two versions the one with the later `lastUpdated` counts, else the one served later.
    pub(crate) fn supersedes(&self, earlier: &Self) -> bool {
        match (self.last_updated, earlier.last_updated) {
            (Some(mine), Some(other)) => mine >= other,
            _ => true,
        }
    }
}

/// The codes in a code, a CodeableConcept or several.
fn codes_in(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(code) => take(code),
        Value::Array(items) => items.iter().for_each(|item| codes_in(item, take)),
        Value::Object(concept) => {
            let codings = concept.get("coding").and_then(Value::as_array);
            for coding in codings.into_iter().flatten() {
                if let Some(code) = coding["code"].as_str() {
                    take(code);
                }
            }
        }
        _ => {}
    }
}

fn patient_in(reference: &Value) -> Option<String> {
    reference["reference"]
        .as_str()?
        .strip_prefix("Patient/")
        .map(str::to_owned)
}

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

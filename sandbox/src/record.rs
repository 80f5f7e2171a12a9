//! A patient's whole record, as `$everything` and `$export` give it: what the patient's
//! searches find, whatever these demand, and what is referred to from there.

use crate::data::Data;
use crate::knobs::Knobs;
use crate::portal::Portal;
use crate::row::Row;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The operation, and the name under which the knobs that go by type know it.
pub(crate) const EVERYTHING: &str = "$everything";

impl Portal {
    /// The rows of a patient and of those that are given along, but for what is left out,
    /// and what they refer to.
    pub(crate) fn record(&self, data: &Data, knobs: &Knobs, patient: &str) -> Vec<Arc<Row>> {
        let mut rows = self.compartment(data, knobs, patient);
        let mut named = BTreeSet::new();
        for row in &rows {
            let resource = serde_json::from_slice(&row.raw).unwrap_or_default();
            self.collect_references(&resource, false, &mut named);
        }
        let own: BTreeSet<_> = rows.iter().filter_map(|row| row.key.clone()).collect();
        let named = named
            .difference(&own)
            .filter(|key| !knobs.left_out.contains(&key.0));
        rows.extend(named.filter_map(|key| data.newest(key)));
        rows
    }

    /// As [`Self::record`], without what is referred to: what an export holds.
    pub(crate) fn compartment(&self, data: &Data, knobs: &Knobs, patient: &str) -> Vec<Arc<Row>> {
        let others = knobs.given_along.iter().map(String::as_str);
        let patients = std::iter::once(patient).chain(others.filter(|other| *other != patient));
        patients
            .flat_map(|patient| data.owned(patient))
            .filter(|row| !knobs.left_out.contains(row.searched_as()))
            .map(Arc::clone)
            .collect()
    }
}

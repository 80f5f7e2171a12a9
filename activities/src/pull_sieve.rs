//! What is taken of an answer that holds many types at once, `$everything` or an
//! export, and what came of each type.
//!
//! Invariant: nothing that names another patient alone is taken, nor a type of the
//! patient's that is not asked for.

use std::collections::{BTreeMap, BTreeSet};

use model::{RawResource, RejectReason, TypeNote, TypeOutcome};
use serde::{Deserialize, Serialize};
use source::{Owner, is_asked_by_patient, owner_of};
use steps::TypeProgress;
use url::Url;

use crate::pull_progress::{Line, encode};

/// The type whose line counts what belongs to no other.
pub(crate) const PATIENT: &str = "Patient";

/// What is wanted, and what came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sieve {
    /// The types that are asked for by patient.
    wanted: BTreeSet<String>,
    lines: BTreeMap<String, Line>,
    /// Resources of other patients, by type.
    others: BTreeMap<String, u64>,
    /// Resources that should name a patient and do not, by type.
    unnamed: BTreeMap<String, u64>,
}

impl Sieve {
    pub(crate) fn new(wanted: BTreeSet<String>) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Whether a resource is taken for the patient. One that names nobody is, where the
    /// source `vouches` that all it gives is this patient's.
    pub(crate) fn takes(
        &mut self,
        resource: &RawResource,
        patient_id: &str,
        base: &Url,
        vouches: bool,
    ) -> bool {
        let name = resource.head.resource_type.as_str();
        let by_patient = is_asked_by_patient(name);
        if by_patient && !self.wanted.contains(name) {
            // Nobody asked, so nothing is to be told.
            return false;
        }
        let owner = owner_of(resource, patient_id, base);
        let is_taken = match owner {
            Owner::Own => true,
            Owner::Other => false,
            Owner::Unnamed => vouches || !by_patient,
        };
        if !is_taken {
            let of = match owner {
                Owner::Other => &mut self.others,
                Owner::Own | Owner::Unnamed => &mut self.unnamed,
            };
            *of.entry(name.to_owned()).or_default() += 1;
        }
        let line = self.line(name);
        line.fetched += 1;
        line.ignored += u64::from(!is_taken);
        is_taken
    }

    /// Counts what is of no use: outcomes and headings.
    pub(crate) fn ignore(&mut self, resource_type: &str) {
        let line = self.line(resource_type);
        line.fetched += 1;
        line.ignored += 1;
    }

    /// Counts what is set aside.
    pub(crate) fn reject(&mut self, resource_type: &str, reason: RejectReason) {
        let line = self.line(resource_type);
        line.fetched += 1;
        line.rejected += 1;
        *line.reasons.entry(reason.code().to_owned()).or_default() += 1;
    }

    /// What came of a type.
    pub(crate) fn line(&mut self, resource_type: &str) -> &mut Line {
        if !self.lines.contains_key(resource_type) {
            self.lines.insert(resource_type.to_owned(), Line::default());
        }
        self.lines
            .get_mut(resource_type)
            .expect("it was put there if it was missing")
    }

    /// How many resources of other patients came.
    pub(crate) fn other_count(&self) -> u64 {
        self.others.values().sum()
    }

    /// Whether all that came of a type could be judged by whom it names.
    pub(crate) fn is_clear(&self, resource_type: &str) -> bool {
        !self.unnamed.contains_key(resource_type)
    }

    /// Whether resources of a type were taken.
    pub(crate) fn has(&self, resource_type: &str) -> bool {
        let line = self.lines.get(resource_type);
        line.is_some_and(|line| line.fetched > line.ignored + line.rejected)
    }

    /// The wanted types, the patient apart, who is always read.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        let names = self.wanted.iter().map(String::as_str);
        names.filter(|name| *name != PATIENT)
    }

    /// The lines of all types that came, and of those that were `had` whole.
    pub(crate) fn progress(&self, told: &Told<'_>) -> Vec<TypeProgress> {
        let none = Line::default();
        let came = self.lines.keys().map(String::as_str);
        let names: BTreeSet<&str> = came.chain(told.had.iter().map(String::as_str)).collect();
        names
            .into_iter()
            .map(|name| {
                let mut line = self.lines.get(name).unwrap_or(&none).progress(name);
                let taken = line.fetched - line.ignored - line.rejected;
                let is_had = told.had.contains(name);
                // Not had by this way is no verdict on the type: its search has one.
                line.outcome = told.is_over.then_some(TypeOutcome::Complete);
                line.plan_hash = is_had.then(|| plan_hash(told.way, name));
                line.may_lack = is_had && told.may_lack;
                if is_had {
                    line.notes.push(TypeNote::counted(told.way, taken));
                }
                let others = self
                    .others
                    .get(name)
                    .into_iter()
                    .chain(self.unnamed.get(name));
                let others = others.sum();
                if others > 0 {
                    line.notes
                        .push(TypeNote::counted(TypeNote::OF_OTHERS, others));
                }
                line
            })
            .collect()
    }
}

/// What is told of the types that came in one way.
pub(crate) struct Told<'a> {
    /// The way: the code of the remark on each type that was had whole.
    pub(crate) way: &'static str,
    pub(crate) had: &'a BTreeSet<String>,
    /// Whether nobody vouches that this was all.
    pub(crate) may_lack: bool,
    pub(crate) is_over: bool,
}

/// A hash of how a type was had: another than that of any search for it.
fn plan_hash(way: &str, resource_type: &str) -> String {
    model::content_hash(&encode(&(way, resource_type))).to_string()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{content_hash, read_head};

    use super::*;

    fn resource(text: &'static str) -> RawResource {
        let text = Bytes::from_static(text.as_bytes());
        RawResource {
            head: read_head(&text).unwrap(),
            hash: content_hash(&text),
            text,
        }
    }

    #[test]
    fn only_what_is_wanted_of_the_patient_is_taken() {
        let base = "https://ehr.example/fhir".parse().unwrap();
        let mut sieve = Sieve::new(["Flag", "Patient", "Specimen"].map(str::to_owned).into());
        let mut takes = |text, vouches| sieve.takes(&resource(text), "p", &base, vouches);
        let own = r#"{"resourceType":"Flag","id":"1","subject":{"reference":"Patient/p"}}"#;
        let other = r#"{"resourceType":"Flag","id":"2","subject":{"reference":"Patient/q"}}"#;
        let unwanted = r#"{"resourceType":"Goal","id":"3","subject":{"reference":"Patient/p"}}"#;
        let unnamed = r#"{"resourceType":"Specimen","id":"4"}"#;
        let shared = r#"{"resourceType":"Practitioner","id":"5"}"#;
        assert!(takes(own, false) && takes(shared, false) && takes(unnamed, true));
        assert!(!takes(other, true) && !takes(unwanted, true) && !takes(unnamed, false));
        assert_eq!(sieve.other_count(), 1);
        assert!(sieve.has("Flag") && !sieve.has("Goal"));
        assert!(sieve.is_clear("Flag") && !sieve.is_clear("Specimen"));

        let had = ["Flag".to_owned(), "Immunization".to_owned()].into();
        let told = Told {
            way: TypeNote::BY_EXPORT,
            had: &had,
            may_lack: false,
            is_over: true,
        };
        let lines = sieve.progress(&told);
        let names: Vec<&str> = lines.iter().map(|of| of.resource_type.as_str()).collect();
        assert_eq!(names, ["Flag", "Immunization", "Practitioner", "Specimen"]);
        let hashed: Vec<bool> = lines.iter().map(|of| of.plan_hash.is_some()).collect();
        assert_eq!(hashed, [true, true, false, false]);
        assert_eq!((lines[0].fetched, lines[0].ignored), (2, 1));
    }
}

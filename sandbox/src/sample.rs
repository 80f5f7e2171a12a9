//! The sample data inside the program: Synthea's patients (`data/README.md`
//! says how they were made) and the hand-written edge cases. Unpacked and
//! read once a process.

use crate::data::Data;
use crate::row::Row;
use bytes::Bytes;
use std::sync::OnceLock;

/// The patient who owns the edge cases.
pub(crate) const EDGE_CASE_PATIENT: &str = "12345";

/// Edge-case types that belong to no patient and that no search finds.
const OUTSIDE_COMPARTMENT: [&str; 2] = ["BodyComposition", "Questionnaire"];

const EDGE_CASES: &[u8] = include_bytes!("../data/edge-cases.ndjson");

macro_rules! synthea {
    ($($ty:literal)*) => {
        [$(include_bytes!(concat!("../data/synthea/", $ty, ".ndjson.zst")).as_slice(),)*]
    };
}

pub(crate) const SYNTHEA: [&[u8]; 24] = synthea![
    "AllergyIntolerance" "CarePlan" "CareTeam" "Claim" "Condition" "Device" "DiagnosticReport"
    "DocumentReference" "Encounter" "ExplanationOfBenefit" "ImagingStudy" "Immunization" "Location"
    "Medication" "MedicationAdministration" "MedicationRequest" "Observation" "Organization"
    "Patient" "Practitioner" "PractitionerRole" "Procedure" "Provenance" "SupplyDelivery"
];

/// A copy of the sample portal; the resources' text is shared.
pub(crate) fn data() -> Data {
    static SAMPLE: OnceLock<Data> = OnceLock::new();
    SAMPLE.get_or_init(read).clone()
}

fn read() -> Data {
    let mut data = Data::default();
    for packed in SYNTHEA {
        let text = zstd::decode_all(packed).expect("the embedded data is ours");
        for line in lines(&Bytes::from(text)) {
            data.append(Row::new(line));
        }
    }
    for line in lines(&Bytes::from_static(EDGE_CASES)) {
        let mut row = Row::new(line);
        row.owners = match row.ty() {
            Some("Patient") => row.owners,
            Some(ty) if OUTSIDE_COMPARTMENT.contains(&ty) => Vec::new(),
            _ => vec![EDGE_CASE_PATIENT.to_owned()],
        };
        data.append(row);
    }
    data
}

fn lines(text: &Bytes) -> impl Iterator<Item = Bytes> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| text.slice_ref(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded() {
        // Tests run in their package's folder; a path that was compiled in may be that
        // of another clone, which built the same target folder.
        assert_eq!(
            std::fs::read_dir("data/synthea").unwrap().count(),
            SYNTHEA.len()
        );
    }
}

//! Patients of any size, made from a seed.

use crate::Random;

/// Types of a history, and how many in a hundred are of each.
const MIX: [(&str, u64); 5] = [
    ("Observation", 62),
    ("Encounter", 12),
    ("Condition", 10),
    ("Procedure", 8),
    ("MedicationRequest", 8),
];

/// A patient with `count` resources, the Patient included, of about a kilobyte
/// each.
#[must_use]
pub fn generated_patient(id: &str, count: u64, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut resources = vec![format!(
        r#"{{"resourceType":"Patient","id":"{id}","gender":"unknown"}}"#
    )];
    for number in 1..count {
        let mut share = random.below(100);
        let of_share = |(_, percent): &&(&str, u64)| {
            let hit = share < *percent;
            share = share.saturating_sub(*percent);
            hit
        };
        let name = MIX
            .iter()
            .find(of_share)
            .map_or(MIX[0].0, |(name, _)| *name);
        let words = 20 + random.below(60);
        let text: Vec<String> = (0..words)
            .map(|_| format!("{:x}", random.below(1 << 40)))
            .collect();
        resources.push(format!(
            r#"{{"resourceType":"{name}","id":"{id}-{number}","status":"final","meta":{{"versionId":"1","lastUpdated":"2024-01-{:02}T10:00:00Z"}},"subject":{{"reference":"Patient/{id}"}},"code":{{"text":"generated"}},"note":[{{"text":"{}"}}]}}"#,
            1 + random.below(28),
            text.join(" "),
        ));
    }
    resources
}

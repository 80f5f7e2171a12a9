//! What fetched resources refer to and no search gave: the targets of one round
//! of reads. What a round found is searched for references in the next, a few
//! rounds deep.

use std::collections::BTreeSet;

use model::is_resource_type;
use records::{Index, SegmentReader, frame_texts};
use source::{CLOSURE_TYPES, reference_target};
use steps::PullStep;
use url::Url;

use crate::Context;
use crate::failure::Failure;

/// How many references away from what searches gave.
pub(crate) const ROUNDS_MAX: u32 = 3;
/// Reads of one round: a record that refers to more is not followed whole.
pub(crate) const TARGETS_MAX: usize = 20_000;

/// Types whose references to observations are followed: panels and reports name
/// observations that searches leave out.
const REPORTING_TYPES: [&str; 2] = ["DiagnosticReport", "Observation"];
const OBSERVATION: &str = "Observation";
/// The type that names its questionnaire by a canonical URL, not by a reference.
const ANSWERING_TYPE: &str = "QuestionnaireResponse";

/// A referenced resource: type and id.
pub(crate) type Target = (String, String);

/// A number that stands for a target; the target cannot be read from it.
pub(crate) fn target_hash(resource_type: &str, id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{resource_type}/{id}").as_bytes())
}

/// What earlier pulls found.
pub(crate) struct Known<'a> {
    /// The record.
    pub(crate) index: &'a Index,
    /// Hashes of targets that led nowhere not long ago.
    pub(crate) dangling: BTreeSet<u64>,
}

/// The targets of a round: the references of everything staged, in the first round,
/// or of what earlier rounds read, but for what was staged itself, and for what led
/// nowhere, unless something new or changed refers to it.
pub(crate) async fn targets(
    context: &Context,
    input: &PullStep,
    base: &Url,
    round: u32,
    known: &Known<'_>,
) -> Result<BTreeSet<Target>, Failure> {
    let of_references = format!("/{}/", input.step);
    let mut readers = Vec::new();
    let mut staged = BTreeSet::new();
    for object in context.db.staging(input.pull_id).await? {
        let reader = SegmentReader::open(&context.store, &object.object_key).await?;
        for row in reader.footer().rows() {
            if is_followed(row.resource_type, true) {
                staged.insert(target_hash(row.resource_type, row.id));
            }
        }
        if round == 0 || object.object_key.contains(&of_references) {
            readers.push(reader);
        }
    }
    let mut found = BTreeSet::new();
    for reader in readers {
        let footer = reader.footer();
        for (number, frame) in footer.frames().iter().enumerate() {
            let of_type = footer.frame_type(frame);
            let text = reader.read_frame(number).await?;
            for (row, text) in frame_texts(footer, number, &text) {
                let row = footer.row(row);
                let index = known.index;
                let is_known = index.holds(row.resource_type, row.id, row.content_hash);
                found.extend(targets_in(&text, of_type, base).filter(|(name, id)| {
                    let hash = target_hash(name, id);
                    let leads_nowhere = is_known && known.dangling.contains(&hash);
                    !staged.contains(&hash) && !leads_nowhere
                }));
            }
        }
    }
    Ok(found)
}

/// Whether references to a type are followed; to observations, from reports alone.
fn is_followed(resource_type: &str, reports: bool) -> bool {
    CLOSURE_TYPES.contains(&resource_type) || (reports && resource_type == OBSERVATION)
}

/// The targets in the compact text of resources of one type.
fn targets_in<'a>(
    text: &'a [u8],
    of_type: &'a str,
    base: &'a Url,
) -> impl Iterator<Item = Target> + 'a {
    let reports = REPORTING_TYPES.contains(&of_type);
    let canonicals = (of_type == ANSWERING_TYPE)
        .then(|| model::questionnaires(text))
        .into_iter()
        .flatten()
        .filter_map(move |canonical| {
            let url = canonical.split('|').next().unwrap_or_default();
            reference_target(url, base)
        });
    model::references(text)
        .filter_map(move |reference| reference_target(&reference, base))
        .chain(canonicals)
        .filter(move |(name, _)| is_resource_type(name) && is_followed(name, reports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(of_type: &str, text: &str) -> Vec<String> {
        let base = "https://ehr.example/fhir".parse().unwrap();
        targets_in(text.as_bytes(), of_type, &base)
            .map(|(name, id)| format!("{name}/{id}"))
            .collect()
    }

    #[test]
    fn observations_are_followed_from_reports_alone() {
        let text = r#"{"result":[{"reference":"Observation/1"}],"specimen":{"reference":"Specimen/2"},"subject":{"reference":"Patient/3"}}"#;
        assert_eq!(
            found("DiagnosticReport", text),
            ["Observation/1", "Specimen/2"]
        );
        assert_eq!(found("Condition", text), ["Specimen/2"]);
    }

    #[test]
    fn a_questionnaire_is_named_by_its_canonical_url() {
        let text = r#"{"questionnaire":"https://ehr.example/fhir/Questionnaire/q|2.0","author":{"reference":"none"}}"#;
        assert_eq!(found("QuestionnaireResponse", text), ["Questionnaire/q"]);
        assert!(found("Task", text).is_empty());
        let foreign = r#"{"questionnaire":"https://other.example/Questionnaire/q"}"#;
        assert!(found("QuestionnaireResponse", foreign).is_empty());
    }
}

//! One resource of the portal. Its text is read once, for its type, id, owners and time,
//! and never written again.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

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
    pub(crate) tokens: Vec<(&'static str, String)>,
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

//! What a refusal says, in our own words: a server that will not answer a search
//! often says what it wants instead. Servers agree neither on the status nor on
//! the code, so both the outcome's codes and fixed words in its text count.
//!
//! Invariant: no text of the answer leaves this module. The one thing kept of it are
//! codes of categories that it lists; they are checked, and `Debug` hides them.

mod snomed;

use std::fmt;

use serde::Deserialize;

use self::snomed::snomed_codes;

/// Codes of an OperationOutcome that say that the question, not the asker, was at
/// fault.
const DEMANDING_CODES: [&str; 4] = ["required", "business-rule", "invalid", "too-costly"];

/// What an answer of 400 and above says beside its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// What it wants in a search beside the patient.
    pub demand: Option<Demand>,
    /// It is an OperationOutcome: the FHIR server itself answers, not something
    /// before it.
    pub is_outcome: bool,
    /// It says that the trouble will pass: an issue of the code `transient`.
    pub transient: bool,
    /// It names `_count`, which some servers do not know.
    pub names_count: bool,
    /// Its `WWW-Authenticate` says that the token's scopes do not reach.
    pub insufficient_scope: bool,
    /// Codes of categories that it lists.
    pub categories: Categories,
}

/// What a server wants in a search beside the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Its text names `category`.
    Category,
    /// Its text names `intent`.
    Intent,
    /// Its text names `status`.
    Status,
    /// Something: its text names a code or a combination of parameters, or its
    /// outcome's code says so.
    Other,
}

/// Codes of categories that an answer listed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Categories(pub Vec<String>);

impl fmt::Debug for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Categories({})", self.0.len())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    resource_type: String,
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    code: Option<String>,
    diagnostics: Option<String>,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    text: Option<String>,
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    display: Option<String>,
}

impl Said {
    /// Reads the body of a refusal; one that cannot be read says nothing.
    pub(crate) fn read(body: &[u8]) -> Self {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let text = String::from_utf8_lossy(body);
        if let Ok(outcome) = serde_json::from_str::<Outcome>(&text)
            && outcome.resource_type == "OperationOutcome"
        {
            return Self::of_outcome(outcome);
        }
        // The names of JSON members are no words of the answer's.
        let values = serde_json::from_str::<serde_json::Value>(&text).map(|value| {
            let mut found = String::new();
            collect_texts(&value, &mut found);
            found
        });
        let is_page = text.trim_start().starts_with('<');
        let words = values.as_deref().unwrap_or(&text);
        Self {
            demand: demand_in(words, is_page),
            names_count: !is_page && words.contains("_count"),
            ..Self::default()
        }
    }

    fn of_outcome(outcome: Outcome) -> Self {
        let mut text = String::new();
        let (mut is_demanding, mut transient) = (false, false);
        for issue in outcome.issue {
            let code = issue.code.as_deref();
            is_demanding |= code.is_some_and(|code| DEMANDING_CODES.contains(&code));
            transient |= code == Some("transient");
            let details = issue.details.into_iter().flat_map(|details| {
                let displays = details.coding.into_iter().filter_map(|of| of.display);
                details.text.into_iter().chain(displays)
            });
            for part in issue.diagnostics.into_iter().chain(details) {
                text.push_str(&part);
                text.push('\n');
            }
        }
        Self {
            demand: demand_in(&text, false).or(is_demanding.then_some(Demand::Other)),
            is_outcome: true,
            transient,
            names_count: text.contains("_count"),
            insufficient_scope: false,
            categories: Categories(snomed_codes(&text)),
        }
    }
}

fn collect_texts(value: &serde_json::Value, found: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            found.push_str(text);
            found.push('\n');
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| collect_texts(item, found));
        }
        serde_json::Value::Object(members) => {
            members
                .values()
                .for_each(|member| collect_texts(member, found));
        }
        _ => {}
    }
}

/// What a text wants. `status` and `code` are words of any error page, so in HTML
/// only the others count.
fn demand_in(text: &str, is_page: bool) -> Option<Demand> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .filter(|word| !word.is_empty())
        .collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let is_of_http =
        |before: &&str| matches!(*before, "status" | "error" | "http" | "response" | "exit");
    let mut names_status = false;
    let mut names_code = false;
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        let after = words.get(at + 1);
        match *word {
            "status" => {
                names_status |= after.is_none_or(|after| *after != "code")
                    && before.is_none_or(|before| !is_of_http(before))
                    && after.is_none_or(|after| after.parse::<u16>().is_err());
            }
            "code" | "codes" => names_code |= before.is_none_or(|before| !is_of_http(before)),
            _ => {}
        }
    }
    let combines = words
        .windows(2)
        .any(|pair| matches!(pair, ["parameter" | "parameters", after] if after.starts_with("combination")));
    if has(&["category", "categories"]) {
        Some(Demand::Category)
    } else if !is_page && has(&["intent", "intents"]) {
        Some(Demand::Intent)
    } else if !is_page && names_status {
        Some(Demand::Status)
    } else if combines || (!is_page && names_code) {
        Some(Demand::Other)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

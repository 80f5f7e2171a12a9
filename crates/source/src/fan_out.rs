//! Asking for a type value by value, where a source refuses to be asked for all of
//! it: one search for each category, intent or status.
//!
//! One request for each value and no list of values: a server that does not know
//! one of a list refuses the whole.

mod lists;

use serde::{Deserialize, Serialize};

use self::lists::{CATEGORY, INTENT, STATUS, lists};
use crate::said::{Demand, Said};

/// A parameter, and the values to ask for one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// The parameter beside the patient.
    pub parameter: String,
    /// Its values, `code` or `system|code`.
    pub values: Vec<String>,
}

impl FanOut {
    /// Whether resources may lack the parameter's element or have a value that is
    /// not asked for: no such search finds them.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.parameter == "category"
    }

    /// Whether the value is one of ours, so that it may be named to people.
    #[must_use]
    pub fn is_known(resource_type: &str, parameter: &str, value: &str) -> bool {
        lists(resource_type)
            .iter()
            .any(|(name, values)| *name == parameter && values.contains(&value))
    }
}

/// How to ask for a type value by value, given what a refusal said: by what it
/// names, else by what most servers want. What was `tried` is not tried again.
#[must_use]
pub fn fan_out(resource_type: &str, said: &Said, tried: &[String]) -> Option<FanOut> {
    let named = match said.demand {
        Some(Demand::Category) => CATEGORY,
        Some(Demand::Intent) => INTENT,
        Some(Demand::Status) => STATUS,
        Some(Demand::Other) | None => "",
    };
    let untried = || {
        lists(resource_type)
            .iter()
            .filter(|(parameter, _)| !tried.iter().any(|tried| tried == parameter))
    };
    let (parameter, values) = untried()
        .find(|(parameter, _)| *parameter == named)
        .or_else(|| untried().next())?;
    let listed = &said.categories.0;
    // A server that lists its categories knows no others.
    let values = if resource_type == "CarePlan" && *parameter == CATEGORY && !listed.is_empty() {
        listed.clone()
    } else {
        values.iter().map(|&value| value.to_owned()).collect()
    };
    Some(FanOut {
        parameter: (*parameter).to_owned(),
        values,
    })
}

#[cfg(test)]
mod tests;

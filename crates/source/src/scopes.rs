//! Which types a grant reaches: SMART scopes of version 1 (`patient/*.read`), of
//! version 2 (`patient/Observation.rs`), and granular ones
//! (`patient/Observation.rs?category=…`).
//!
//! A scope string is a hint: servers leave it out, shorten it and grant more than
//! it says. One that names no type at all says nothing.

use std::collections::BTreeMap;

use model::is_resource_type;

use crate::base::decode;
use crate::fan_out::FanOut;

/// Values of one granular scope parameter at most.
const VALUES_MAX: usize = 32;

/// The types a grant reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scopes {
    /// `*`: every type.
    all: bool,
    types: BTreeMap<String, Reach>,
}

/// How much of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Whole,
    /// Where every scope of the type names one value of the same parameter.
    Values(FanOut),
}

impl Scopes {
    /// `None` where the text says nothing about types.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut scopes = Self {
            all: false,
            types: BTreeMap::new(),
        };
        for scope in text.split_whitespace() {
            let Some((name, reach)) = read(scope) else {
                continue;
            };
            match (name, reach) {
                ("*", Reach::Whole) => scopes.all = true,
                // Values of what type? Only the types that are named are narrowed.
                ("*", Reach::Values(_)) => {}
                (name, reach) => scopes.add(name, reach),
            }
        }
        (scopes.all || !scopes.types.is_empty()).then_some(scopes)
    }

    fn add(&mut self, name: &str, reach: Reach) {
        let Some(known) = self.types.get_mut(name) else {
            self.types.insert(name.to_owned(), reach);
            return;
        };
        match (&mut *known, reach) {
            (Reach::Values(known), Reach::Values(more)) if known.parameter == more.parameter => {
                for value in more.values {
                    if !known.values.contains(&value) && known.values.len() < VALUES_MAX {
                        known.values.push(value);
                    }
                }
            }
            // Two parameters, or the whole: the plain search is asked, and a refusal
            // leads on.
            _ => *known = Reach::Whole,
        }
    }

    /// Whether the grant reaches a type.
    pub(crate) fn reaches(&self, resource_type: &str) -> bool {
        self.all || self.types.contains_key(resource_type)
    }

    /// The values to ask for one by one, where no more was granted: a server may
    /// refuse a search that is not within a granular scope.
    pub(crate) fn values(&self, resource_type: &str) -> Option<&FanOut> {
        match self.types.get(resource_type) {
            Some(Reach::Values(values)) if !self.all => Some(values),
            _ => None,
        }
    }
}

/// Reads one scope: its type (or `*`) and how much of that.
fn read(scope: &str) -> Option<(&str, Reach)> {
    let (context, rest) = scope.split_once('/')?;
    if !matches!(context, "patient" | "user" | "system") {
        return None;
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let (name, rights) = path.split_once('.')?;
    // Version 2 writes its rights in the order of `cruds`.
    let is_v2 = !rights.is_empty() && rights.bytes().all(|right| b"cruds".contains(&right));
    let reads = matches!(rights, "read" | "*") || (is_v2 && rights.contains(['r', 's']));
    if !reads || !(name == "*" || is_resource_type(name)) {
        return None;
    }
    let mut parameters = query.into_iter().flat_map(|query| query.split('&'));
    let reach = match (parameters.next(), parameters.next()) {
        (Some(only), None) => match only.split_once('=') {
            Some((parameter, value)) if is_plain(parameter) && !value.is_empty() => {
                Reach::Values(FanOut {
                    parameter: parameter.to_owned(),
                    values: vec![decode(value)],
                })
            }
            _ => Reach::Whole,
        },
        _ => Reach::Whole,
    };
    Some((name, reach))
}

/// A parameter's name without modifier: it becomes part of a URL as it stands.
fn is_plain(parameter: &str) -> bool {
    !parameter.is_empty()
        && !parameter.starts_with('_')
        && parameter
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_the_field() {
        for (text, reached, not) in [
            ("patient/*.read openid", "Goal", ""),
            ("launch/patient patient/*.rs", "Goal", ""),
            ("user/*.cruds", "Goal", ""),
            ("patient/*.*", "Goal", ""),
            ("patient/Goal.read", "Goal", "Condition"),
            ("patient/Goal.s patient/Condition.cud", "Goal", "Condition"),
            ("patient/Goal.r", "Goal", "Condition"),
            (
                "system/Goal.rs patient/Condition.write",
                "Goal",
                "Condition",
            ),
            ("patient/Goal.rs?_security=x", "Goal", "Condition"),
            ("patient/Goal.rs patient/*.c", "Goal", "Condition"),
        ] {
            let scopes = Scopes::parse(text).unwrap();
            assert!(scopes.reaches(reached), "{text}");
            assert!(not.is_empty() || !scopes.reaches(not), "{text}");
            assert_eq!(scopes.values(reached), None, "{text}");
        }
        for nothing in [
            "",
            "openid fhirUser launch/patient offline_access",
            "patient/Goal.write patient/goal.read patient/../x.read Goal.read patient/Goal",
        ] {
            assert_eq!(Scopes::parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn granular_scopes_are_asked_for_value_by_value() {
        let values = |text: &str| {
            Scopes::parse(text)
                .unwrap()
                .values("Observation")
                .map(|fan_out| (fan_out.parameter.clone(), fan_out.values.join(" ")))
        };
        let (a, b) = (
            "patient/Observation.rs?category=http%3A%2F%2Fx%7Claboratory",
            "patient/Observation.rs?category=http://x|vital-signs",
        );
        assert_eq!(
            values(&format!("{a} {b} {a}")),
            Some((
                "category".to_owned(),
                "http://x|laboratory http://x|vital-signs".to_owned()
            ))
        );
        assert_eq!(values(&format!("{a} patient/Observation.read")), None);
        assert_eq!(values(&format!("{a} patient/Observation.rs?code=1")), None);
        assert_eq!(values(&format!("{a} patient/*.rs")), None);
        assert_eq!(values("patient/Observation.rs?category=a&code=b"), None);
    }
}

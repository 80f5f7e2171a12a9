//! What a source declares of itself: its CapabilityStatement, cut to what a plan
//! needs. Necessary but not truthful: it lists types that a client
//! is not granted, and leaves out parameters that work.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::error::Error;

/// What a source declares. `Capabilities::default()` stands for a source whose
/// declaration is not to be had: it is asked for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `fhirVersion`, beginning with `4.0`.
    pub fhir_version: String,
    /// The declared types.
    pub types: BTreeMap<String, TypeCapability>,
}

/// What a source declares of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCapability {
    /// Whether it can be searched; true too where no interactions are declared.
    pub searchable: bool,
    /// The names of its search parameters.
    pub search_params: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: Option<String>,
    fhir_version: Option<String>,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Deserialize)]
struct Rest {
    mode: Option<String>,
    #[serde(default)]
    resource: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(rename = "type")]
    name: Option<String>,
    #[serde(default)]
    interaction: Vec<Interaction>,
    #[serde(default)]
    search_param: Vec<SearchParam>,
}

#[derive(Deserialize)]
struct Interaction {
    code: Option<String>,
}

#[derive(Deserialize)]
struct SearchParam {
    name: Option<String>,
}

/// Reads the answer to `GET metadata`.
pub(crate) fn parse(body: &[u8], base: &Base) -> Result<Capabilities, Error> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let statement: Statement =
        serde_json::from_slice(body).map_err(|_| base.protocol("metadata is not FHIR JSON"))?;
    if statement.resource_type.as_deref() != Some("CapabilityStatement") {
        return Err(base.protocol("metadata is not a CapabilityStatement"));
    }
    let fhir_version = statement.fhir_version.unwrap_or_default();
    if fhir_version != "4.0" && !fhir_version.starts_with("4.0.") {
        return Err(Error::Config {
            what: "it does not declare FHIR R4 (fhirVersion 4.0)",
        });
    }
    let mut types: BTreeMap<String, TypeCapability> = BTreeMap::new();
    let server = statement
        .rest
        .into_iter()
        .filter(|rest| rest.mode.as_deref().is_none_or(|mode| mode == "server"));
    for resource in server.flat_map(|rest| rest.resource) {
        let Some(name) = resource.name.filter(|name| model::is_resource_type(name)) else {
            continue;
        };
        let declared = types.entry(name).or_default();
        declared.searchable |= resource.interaction.is_empty()
            || resource
                .interaction
                .iter()
                .any(|interaction| interaction.code.as_deref() == Some("search-type"));
        declared.search_params.extend(
            resource
                .search_param
                .into_iter()
                .filter_map(|param| param.name),
        );
    }
    Ok(Capabilities {
        fhir_version,
        types,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Capabilities, Error> {
        parse(
            text.as_bytes(),
            &Base::new(&"https://ehr.example/fhir".parse().unwrap()).unwrap(),
        )
    }

    #[test]
    fn statements_of_the_field() {
        let full = parsed(
            r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[
                {"mode":"client","resource":[{"type":"Flag"}]},
                {"mode":"server","resource":[
                    {"type":"Goal","interaction":[{"code":"read"}],"searchParam":[{"name":"patient","type":"reference"}]},
                    {"type":"Observation","interaction":[{"code":"search-type"}],"searchParam":[{"name":"patient"},{"type":"x"}]},
                    {"type":"../x"},{"documentation":"no type"}]},
                {"resource":[{"type":"Observation","searchParam":[{"name":"code"}]},{"type":"Encounter"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            full.types.keys().collect::<Vec<_>>(),
            ["Encounter", "Goal", "Observation"]
        );
        assert!(
            full.types["Encounter"].searchable && full.types["Encounter"].search_params.is_empty()
        );
        assert!(!full.types["Goal"].searchable);
        assert_eq!(
            full.types["Observation"]
                .search_params
                .iter()
                .collect::<Vec<_>>(),
            ["code", "patient"]
        );

        let bare =
            parsed("\u{FEFF}{\"resourceType\":\"CapabilityStatement\",\"fhirVersion\":\"4.0\"}")
                .unwrap();
        assert!(bare.types.is_empty());
    }

    #[test]
    fn another_version_or_no_statement_is_refused() {
        for version in ["4.3.0", "4.01", "3.0.2", "5.0.0", ""] {
            let text =
                format!(r#"{{"resourceType":"CapabilityStatement","fhirVersion":"{version}"}}"#);
            assert!(
                matches!(parsed(&text), Err(Error::Config { .. })),
                "{version}"
            );
        }
        for text in [
            "<html></html>",
            "{}",
            r#"{"resourceType":"Conformance"}"#,
            r#"{"resourceType":"Capab"#,
            "",
        ] {
            assert!(
                matches!(parsed(text), Err(Error::Protocol { .. })),
                "{text}"
            );
        }
    }
}

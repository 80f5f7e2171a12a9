//! What refusals of the field are read to say.

use super::*;

fn outcome(code: &str, text: &str) -> Said {
    Said::read(
        format!(
            r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"fatal","code":"{code}","details":{{"text":"{text}"}}}}]}}"#
        )
        .as_bytes(),
    )
}

/// FHIR's vendors, request by request.
#[test]
fn refusals_of_the_field_say_what_they_want() {
    let demand = |code, text| outcome(code, text).demand;
    assert_eq!(
        demand("required", "Must have either code or category."),
        Some(Demand::Category)
    );
    assert_eq!(
        demand("invalid", "Only an _ID search is allowed."),
        Some(Demand::Other)
    );
    assert_eq!(
        demand(
            "forbidden",
            "required parameter combinations [[patient,intent],[_id]]"
        ),
        Some(Demand::Intent)
    );
    assert_eq!(
        demand(
            "not-found",
            "Valid care plan category not present in search"
        ),
        Some(Demand::Category)
    );
    assert_eq!(
        demand("not-found", "No code in the search"),
        Some(Demand::Other)
    );
    assert_eq!(demand("too-costly", ""), Some(Demand::Other));
    assert_eq!(
        demand("processing", "Either status or intent is needed"),
        Some(Demand::Intent)
    );
    assert_eq!(
        demand("processing", "The status is missing."),
        Some(Demand::Status)
    );
    assert_eq!(demand("forbidden", "Not for you."), None);
    assert_eq!(demand("exception", "HTTP status code 500"), None);
    assert_eq!(demand("exception", "error code 17, encoded"), None);
    let count = outcome(
        "processing",
        "Does not know how to handle GET with parameters [patient,_count]",
    );
    assert!(count.names_count && count.is_outcome);
}

#[test]
fn what_is_no_outcome_is_read_for_words_alone() {
    for (body, expected) in [
        ("", None),
        ("category is needed", Some(Demand::Category)),
        (
            "<html><title>Status 404</title><code>404</code></html>",
            None,
        ),
        (
            "<html>The category is missing</html>",
            Some(Demand::Category),
        ),
        (r#"{"status":400,"code":"x","message":"no"}"#, None),
        (r#"{"message":"intent is needed"}"#, Some(Demand::Intent)),
        ("\u{fffd}\u{0}", None),
    ] {
        let said = Said::read(body.as_bytes());
        assert_eq!(said.demand, expected, "{body}");
        assert!(!said.is_outcome && said.categories.0.is_empty());
    }
    assert_eq!(
        Said::read(b"\xff\xfe category").demand,
        Some(Demand::Category)
    );
}

#[test]
fn listed_categories_are_checked_codes_and_nothing_else() {
    let said = outcome(
        "business-rule",
        "59159: use 38717003, 734163000|736271009; not 123456789, 4711471101, 012345600, MRN38717003",
    );
    assert_eq!(
        said.categories.0,
        ["38717003", "734163000", "736271009"],
        "{said:?}"
    );
    assert_eq!(said.demand, Some(Demand::Other));
    assert!(!format!("{said:?}").contains("38717003"));
}

//! By what a type is asked for, given what a refusal said.

use super::*;
use crate::said::Categories;

fn said(demand: Option<Demand>, categories: &[&str]) -> Said {
    Said {
        demand,
        categories: Categories(categories.iter().map(|&code| code.to_owned()).collect()),
        ..Said::default()
    }
}

#[test]
fn the_named_parameter_comes_first_and_none_twice() {
    let parameter = |resource_type: &str, demand, tried: &[&str]| {
        let tried: Vec<String> = tried.iter().map(|&name| name.to_owned()).collect();
        fan_out(resource_type, &said(demand, &[]), &tried).map(|found| found.parameter)
    };
    let other = Some(Demand::Other);
    assert_eq!(
        parameter("Observation", other, &[]).as_deref(),
        Some("category")
    );
    assert_eq!(
        parameter("Observation", Some(Demand::Status), &[]).as_deref(),
        Some("status")
    );
    assert_eq!(
        parameter("Observation", other, &["category"]).as_deref(),
        Some("status")
    );
    assert_eq!(
        parameter("Observation", other, &["category", "status"]),
        None
    );
    assert_eq!(
        parameter("MedicationRequest", Some(Demand::Category), &[]).as_deref(),
        Some("intent")
    );
    assert_eq!(parameter("RelatedPerson", other, &[]), None);
    assert_eq!(parameter("CareTeam", None, &[]).as_deref(), Some("status"));
}

#[test]
fn care_plans_are_asked_for_by_the_categories_that_the_server_lists() {
    let listed = said(Some(Demand::Other), &["736353004"]);
    let found = fan_out("CarePlan", &listed, &[]).unwrap();
    assert_eq!(found.values, ["736353004"]);
    assert!(!FanOut::is_known("CarePlan", "category", "736353004"));
    let found = fan_out("CarePlan", &said(None, &[]), &[]).unwrap();
    assert!(found.values.contains(&"38717003".to_owned()));
    assert!(FanOut::is_known("CarePlan", "category", "38717003"));
    // Other types have categories of their own.
    let found = fan_out("Observation", &listed, &[]).unwrap();
    assert!(found.values.contains(&"laboratory".to_owned()) && found.is_lossy());
}

//! Which types, limits and intervals a source may have.

use model::is_resource_type;

use crate::problem::{INVALID_VALUE, Problem};

/// FHIR R4 has fewer types than that.
const TYPES_MAX: usize = 200;

pub(super) fn check_types(types: &[String]) -> Result<(), Problem> {
    let are_types = types.iter().all(|name| is_resource_type(name));
    if are_types && (1..=TYPES_MAX).contains(&types.len()) {
        return Ok(());
    }
    let detail = format!(
        "`types` has 1 to {TYPES_MAX} names of resource types, such as Observation, or is null for all."
    );
    Err(Problem::new(INVALID_VALUE, detail))
}

/// The highest limit that a source may have.
const LIMIT_MAX: u32 = 1000;

pub(super) fn check_limit(name: &str, limit: Option<u32>) -> Result<Option<u32>, Problem> {
    if limit.is_none_or(|limit| (1..=LIMIT_MAX).contains(&limit)) {
        return Ok(limit);
    }
    let detail = format!("`{name}` is a whole number from 1 to {LIMIT_MAX}, or null.");
    Err(Problem::new(INVALID_VALUE, detail))
}

/// A limit that may be given, by its name.
pub(super) fn check_given(
    name: &str,
    limit: Option<Option<u32>>,
) -> Result<Option<Option<u32>>, Problem> {
    limit.map(|limit| check_limit(name, limit)).transpose()
}

/// An interval between two pulls, if it may be one.
pub(in crate::routes) fn check_interval(seconds: u32) -> Result<u32, Problem> {
    db::check_pull_interval(seconds).map_err(|why| {
        let detail = format!("`pull_interval_s` is a whole number of seconds: {why}.");
        Problem::new(INVALID_VALUE, detail)
    })
}

//! Faults in the database: watermarks, catalogue and counts.

use anyhow::{Context, Result};
use serde_json::Value;

use super::copy::Copy;
use super::plant::{LAST_BATCH, batch, connection};

pub(super) fn watermark(copy: &Copy, by: &str) -> Result<String> {
    let (lake, connection) = (&copy.ndjson.id, connection(copy)?);
    copy.sql(&format!(
        "UPDATE watermarks SET seq = seq {by} WHERE destination_id = '{lake}' AND connection_id = '{connection}'"
    ))?;
    Ok(format!("{lake} {connection}"))
}

pub(super) fn no_batch_row(copy: &Copy) -> Result<String> {
    let connection = connection(copy)?;
    copy.sql(&format!(
        "DELETE FROM batches WHERE connection_id = '{connection}' AND seq = 2"
    ))?;
    Ok(connection)
}

pub(super) fn head_low(copy: &Copy) -> Result<String> {
    let connection = connection(copy)?;
    copy.sql(&format!(
        "UPDATE connections SET head_seq = head_seq - 1 WHERE id = '{connection}'"
    ))?;
    Ok(connection)
}

pub(super) fn batch_count(copy: &Copy) -> Result<String> {
    let object = batch(copy, 2)?;
    copy.sql(&format!(
        "UPDATE batches SET row_count = row_count + 1 WHERE object_key = '{object}'"
    ))?;
    Ok(object)
}

/// Adds to a count of a run, in a JSON text.
fn add_to(copy: &Copy, table: &str, key: &str, id: &str, counts: &[(&str, i64)]) -> Result<()> {
    let text = copy.text(&format!("SELECT counts FROM {table} WHERE {key} = '{id}'"))?;
    let mut changed: Value = serde_json::from_str(&text)?;
    for (name, by) in counts {
        let count = changed[*name].as_i64().context("a count")?;
        changed[*name] = (count + by).into();
    }
    copy.sql(&format!(
        "UPDATE {table} SET counts = '{changed}' WHERE {key} = '{id}'"
    ))
}

/// The pull that wrote the second batch.
pub(super) fn pull(copy: &Copy) -> Result<String> {
    copy.text(&format!(
        "SELECT pull_id FROM batches WHERE connection_id = {LAST_BATCH} AND seq = 2"
    ))
}

pub(super) fn pull_count(copy: &Copy) -> Result<String> {
    let pull = pull(copy)?;
    add_to(copy, "pulls", "id", &pull, &[("fetched", 1)])?;
    Ok(pull)
}

pub(super) fn pull_changes(copy: &Copy) -> Result<String> {
    let (pull, swap) = (pull(copy)?, [("new", -1), ("changed", 1)]);
    add_to(copy, "pulls", "id", &pull, &swap)?;
    add_to(
        copy,
        "pull_types",
        "resource_type = 'Observation' AND pull_id",
        &pull,
        &swap,
    )?;
    batch(copy, 2)
}

pub(super) fn export_count(copy: &Copy, name: &str) -> Result<String> {
    let publication = copy.ndjson.publication(2)?;
    let export = publication["export_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    add_to(copy, "exports", "id", &export, &[("planned", 1), (name, 1)])?;
    Ok(export)
}

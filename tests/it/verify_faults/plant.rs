//! How each fault is planted. The functions return the object that the finding
//! must name.

use anyhow::{Context, Result};
use model::{ConnectionId, ExportId, PullId};
use serde_json::Value;

use super::copy::{Copy, Lake};
use super::plant_rows::pull;

/// The connection with three batches, and its last one.
pub(super) const LAST_BATCH: &str = "(SELECT connection_id FROM batches ORDER BY seq DESC LIMIT 1)";

pub(super) fn connection(copy: &Copy) -> Result<String> {
    copy.text(&format!("SELECT {LAST_BATCH}"))
}

/// Its batch `seq`.
pub(super) fn batch(copy: &Copy, seq: u64) -> Result<String> {
    copy.text(&format!(
        "SELECT object_key FROM batches WHERE connection_id = {LAST_BATCH} AND seq = {seq}"
    ))
}

pub(super) fn change_file(
    lake: &Lake,
    path: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<()> {
    let file = lake.folder.join(path);
    let mut bytes = std::fs::read(&file)?;
    change(&mut bytes);
    Ok(std::fs::write(file, bytes)?)
}

pub(super) fn file_removed(copy: &Copy) -> Result<String> {
    let path = copy.parquet.part(1, "Observation")?;
    std::fs::remove_file(copy.parquet.folder.join(&path))?;
    Ok(copy.parquet.names(&path))
}

pub(super) fn file_cut(copy: &Copy) -> Result<String> {
    let path = copy.ndjson.part(1, "Observation")?;
    change_file(&copy.ndjson, &path, |bytes| {
        bytes.truncate(bytes.len() - 10)
    })?;
    Ok(copy.ndjson.names(&path))
}

/// The text with another unit in its first line.
fn other_line(text: &str) -> String {
    text.replacen("\"status\":\"amended\"", "\"status\":\"unknown\"", 1)
}

pub(super) fn line_changed(copy: &Copy) -> Result<String> {
    let path = copy.ndjson.part(2, "Observation")?;
    change_file(&copy.ndjson, &path, |bytes| {
        *bytes = other_line(&String::from_utf8_lossy(bytes)).into_bytes();
    })?;
    Ok(copy.ndjson.names(&path))
}

pub(super) fn byte_flipped(copy: &Copy) -> Result<String> {
    let path = copy.parquet.part(2, "Observation")?;
    change_file(&copy.parquet, &path, |bytes| bytes[100] ^= 1)?;
    Ok(copy.parquet.names(&path))
}

pub(super) fn line_changed_and_hashed(copy: &Copy) -> Result<String> {
    line_changed(copy)?;
    let path = copy.ndjson.part(2, "Observation")?;
    let size = std::fs::metadata(copy.ndjson.folder.join(&path))?.len();
    let sha256 = copy.ndjson.sha256(&path, usize::try_from(size)?)?;
    copy.ndjson.edit(2, |publication| {
        let parts = publication["parts"].as_array_mut().into_iter().flatten();
        for part in parts.filter(|part| part["path"] == path.as_str()) {
            part["sha256"] = sha256.as_str().into();
        }
    })?;
    Ok(copy.ndjson.names(&path))
}

pub(super) fn line_changed_and_agreed(copy: &Copy) -> Result<String> {
    let path = copy.ndjson.part(2, "Observation")?;
    let text = std::fs::read_to_string(copy.ndjson.folder.join(&path))?;
    copy.ndjson.rewrite(2, &path, &other_line(&text))?;
    copy.recount(&copy.ndjson, 2)?;
    Ok(copy.ndjson.names(&Lake::key(2)))
}

pub(super) fn listed_twice(copy: &Copy) -> Result<String> {
    let path = copy.parquet.part(1, "Patient")?;
    copy.parquet.edit(1, |publication| {
        if let Some(parts) = publication["parts"].as_array_mut() {
            parts.extend(
                parts
                    .iter()
                    .find(|part| part["path"] == path.as_str())
                    .cloned(),
            );
        }
    })?;
    Ok(copy.parquet.names(&path))
}

/// Takes rows from the spans of a publication, as many as its parts lack.
fn fit_spans(publication: &mut Value) {
    let parts = publication["parts"].as_array().into_iter().flatten();
    let rows: u64 = parts.filter_map(|part| part["row_count"].as_u64()).sum();
    publication["spans"][0]["row_count"] = rows.into();
}

/// Takes the observations out of a publication.
pub(super) fn leave_out(copy: &Copy, lake: &Lake, number: u64) -> Result<String> {
    let path = lake.part(number, "Observation")?;
    let object = lake.edit(number, |publication| {
        if let Some(parts) = publication["parts"].as_array_mut() {
            parts.retain(|part| part["path"] != path.as_str());
        }
        fit_spans(publication);
    })?;
    copy.recount(lake, number)?;
    Ok(object)
}

/// What was deleted is live for those who read Parquet.
pub(super) fn resurrected(copy: &Copy) -> Result<String> {
    leave_out(copy, &copy.parquet, 4)?;
    Ok(copy.parquet.names(&connection(copy)?))
}

pub(super) fn row_in_two(copy: &Copy) -> Result<String> {
    let (first, second) = (
        copy.ndjson.part(1, "Observation")?,
        copy.ndjson.part(3, "Observation")?,
    );
    let earlier = std::fs::read_to_string(copy.ndjson.folder.join(first))?;
    let line = earlier.lines().find(|line| !line.contains("dec-trailing"));
    let mut text = std::fs::read_to_string(copy.ndjson.folder.join(&second))?;
    text.push_str(line.context("a line")?);
    text.push('\n');
    copy.ndjson.rewrite(3, &second, &text)?;
    copy.ndjson.edit(3, fit_spans)?;
    copy.recount(&copy.ndjson, 3)?;
    Ok(copy.ndjson.names(&Lake::key(3)))
}

pub(super) fn parquet_in_two(copy: &Copy) -> Result<String> {
    let path = copy.parquet.part(1, "Patient")?;
    let earlier = copy.parquet.publication(1)?;
    let export = |publication: &Value| publication["export_id"].as_str().map(str::to_owned);
    let mut parts = earlier["parts"].as_array().into_iter().flatten();
    let part = parts.find(|part| part["path"] == path.as_str());
    let mut part = part.context("a part")?.clone();
    let object = copy.parquet.edit(3, |publication| {
        let ids = export(&earlier).zip(export(publication));
        part["path"] = ids.map(|(from, to)| path.replace(&from, &to)).into();
        if let Some(parts) = publication["parts"].as_array_mut() {
            parts.push(part);
        }
        fit_spans(publication);
    })?;
    let added = copy.parquet.part(3, "Patient")?;
    let added = copy.parquet.folder.join(added);
    std::fs::create_dir_all(added.parent().context("a folder")?)?;
    std::fs::copy(copy.parquet.folder.join(&path), added)?;
    copy.recount(&copy.parquet, 3)?;
    Ok(object)
}

pub(super) fn orphan(copy: &Copy) -> Result<String> {
    let path = copy.parquet.part(1, "Patient")?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let stray = format!("tables/Patient/{}/{name}", ExportId::new());
    let file = copy.parquet.folder.join(&stray);
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::copy(copy.parquet.folder.join(&path), file)?;
    Ok(copy.parquet.names(&stray))
}

pub(super) fn held_missing(copy: &Copy) -> Result<String> {
    let (pull, connection) = (pull(copy)?, connection(copy)?);
    let object = format!("connections/{connection}/held/{pull}/token.ndjson.zst");
    copy.sql(&format!(
        "INSERT INTO held_deletes (pull_id, connection_id, object_key, row_count, types, head_seq, state, created_at) \
         VALUES ('{pull}', '{connection}', '{object}', 12, '{{}}', 2, 'held', 0)"
    ))?;
    Ok(object)
}

pub(super) fn batch_missing(copy: &Copy) -> Result<String> {
    let object = batch(copy, 1)?;
    std::fs::remove_file(copy.stored(&object))?;
    Ok(object)
}

pub(super) fn batch_damaged(copy: &Copy, damage: fn(&mut Vec<u8>)) -> Result<String> {
    let object = batch(copy, 2)?;
    let mut bytes = std::fs::read(copy.stored(&object))?;
    damage(&mut bytes);
    std::fs::write(copy.stored(&object), bytes)?;
    Ok(object)
}

pub(super) fn batch_foreign(copy: &Copy) -> Result<String> {
    let object = batch(copy, 1)?;
    let other = copy.text(&format!(
        "SELECT object_key FROM batches WHERE connection_id <> {LAST_BATCH} LIMIT 1"
    ))?;
    std::fs::copy(copy.stored(&other), copy.stored(&object))?;
    Ok(object)
}

pub(super) fn index_foreign(copy: &Copy) -> Result<String> {
    let connection = connection(copy)?;
    let object = copy.text(&format!(
        "SELECT index_key FROM connections WHERE id = '{connection}'"
    ))?;
    let other = copy.text(&format!(
        "SELECT index_key FROM connections WHERE id <> '{connection}' LIMIT 1"
    ))?;
    std::fs::copy(copy.stored(&other), copy.stored(&object))?;
    Ok(object)
}

pub(super) fn unknown_connection(copy: &Copy) -> Result<String> {
    let folder = format!("connections/{}", ConnectionId::new());
    let file = copy.stored(&format!(
        "{folder}/staging/{}/pages-0/t-00000.ndjson.zst",
        PullId::new()
    ));
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::copy(copy.stored(&batch(copy, 2)?), file)?;
    Ok(folder)
}

pub(super) fn later_log(copy: &Copy) -> Result<String> {
    let object = batch(copy, 2)?;
    let later = object.replace("/000000000002-", "/000000000009-");
    std::fs::copy(copy.stored(&object), copy.stored(&later))?;
    Ok(later)
}

pub(super) fn numbers_ahead(copy: &Copy) -> Result<String> {
    let object = "_chartlift/seq.json";
    std::fs::write(copy.stored(object), r#"{"settle_seq_end": 1000000}"#)?;
    Ok(object.to_owned())
}

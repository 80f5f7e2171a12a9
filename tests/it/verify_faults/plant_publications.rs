//! Faults in publications and in who owns the prefix.

use anyhow::Result;
use model::ExportId;
use serde_json::json;

use super::copy::{Copy, Lake};
use super::plant::change_file;

fn remove_publication(lake: &Lake, number: u64) -> Result<String> {
    std::fs::remove_file(lake.folder.join(Lake::key(number)))?;
    Ok(lake.names(&Lake::key(number)))
}

pub(super) fn slot_emptied(copy: &Copy) -> Result<String> {
    remove_publication(&copy.ndjson, 2)
}

pub(super) fn last_removed(copy: &Copy) -> Result<String> {
    remove_publication(&copy.parquet, copy.parquet.last()?)
}

pub(super) fn slot_skipped(copy: &Copy) -> Result<String> {
    let last = copy.ndjson.last()?;
    let mut publication = copy.ndjson.publication(last)?;
    publication["number"] = (last + 2).into();
    publication["parts"] = json!([]);
    copy.ndjson.write_publication(last + 2, &publication)?;
    Ok(copy.ndjson.names(&Lake::key(last + 1)))
}

pub(super) fn publication_cut(copy: &Copy) -> Result<String> {
    let key = Lake::key(2);
    change_file(&copy.ndjson, &key, |bytes| bytes.truncate(bytes.len() / 2))?;
    Ok(copy.ndjson.names(&key))
}

pub(super) fn foreign(copy: &Copy) -> Result<String> {
    let publication = copy.parquet.publication(2)?;
    copy.ndjson.write_publication(2, &publication)?;
    Ok(copy.ndjson.names(&Lake::key(2)))
}

pub(super) fn other_epoch(copy: &Copy) -> Result<String> {
    copy.ndjson
        .edit(3, |publication| publication["epoch"] = 3.into())
}

pub(super) fn other_export(copy: &Copy) -> Result<String> {
    copy.ndjson.edit(3, |publication| {
        publication["export_id"] = ExportId::new().to_string().into();
        publication["parts"] = json!([]);
    })
}

pub(super) fn burnt(copy: &Copy) -> Result<String> {
    copy.ndjson
        .edit(3, |publication| publication["burnt"] = true.into())
}

pub(super) fn publication_count(copy: &Copy) -> Result<String> {
    copy.parquet.edit(1, |publication| {
        let delivered = publication["counts"]["delivered"]
            .as_u64()
            .unwrap_or_default();
        publication["counts"]["delivered"] = (delivered + 1).into();
    })
}

pub(super) fn spans_overlap(copy: &Copy) -> Result<String> {
    copy.ndjson
        .edit(3, |publication| publication["spans"][0]["from"] = 1.into())
}

pub(super) fn span_gap(copy: &Copy) -> Result<String> {
    copy.ndjson
        .edit(2, |publication| publication["spans"] = json!([]))?;
    Ok(copy.ndjson.names(&Lake::key(3)))
}

pub(super) fn other_owner(copy: &Copy) -> Result<String> {
    let owner = "_chartlift/owner.json";
    std::fs::copy(
        copy.parquet.folder.join(owner),
        copy.ndjson.folder.join(owner),
    )?;
    Ok(copy.ndjson.id.clone())
}

pub(super) fn no_owner(copy: &Copy) -> Result<String> {
    std::fs::remove_file(copy.ndjson.folder.join("_chartlift/owner.json"))?;
    Ok(copy.ndjson.id.clone())
}

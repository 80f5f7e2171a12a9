//! Comparing what two deployments delivered from one settled folder.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::Delivered;

/// The delivered files by name, without the export's folder, sorted. A part's
/// name holds a hash of its bytes, so equal names are equal files; its number
/// says from which chunk it is.
#[must_use]
pub fn delivered_files(delivered: &Delivered) -> Vec<String> {
    let parts = delivered.publications.iter().flat_map(|of| &of.parts);
    let mut names: Vec<String> = parts
        .map(|part| {
            let name = part.path.rsplit('/').next().unwrap_or_default();
            format!("{} {name} {}", part.resource_type, part.row_count)
        })
        .collect();
    names.sort();
    names
}

/// The rows of Parquet files with all columns but the export's id, sorted.
pub fn parquet_rows(folder: &Path, delivered: &Delivered) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for part in delivered.publications.iter().flat_map(|of| &of.parts) {
        let bytes = std::fs::read(folder.join(&part.path)).with_context(|| part.path.clone())?;
        let reader = SerializedFileReader::new(Bytes::from(bytes))?;
        for row in reader.get_row_iter(None)? {
            let row = row?;
            let columns = row
                .get_column_iter()
                .filter(|(name, _)| *name != "export_id")
                .map(|(name, value)| format!("{name}={value}"));
            rows.push(columns.collect::<Vec<_>>().join(" "));
        }
    }
    rows.sort();
    Ok(rows)
}

//! Reading what was delivered, as a data team would: the publications first,
//! then the files they list.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use db::Db;
use model::{FileFormat, Part, Publication};

/// A row, ids of runs and times aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveredRow {
    /// The operator's name for the patient; empty in NDJSON, which does not say.
    pub patient: String,
    /// `resourceType`.
    pub resource_type: String,
    /// `id`.
    pub id: String,
    /// The hash of the text, hexadecimal; empty for a deletion.
    pub content_hash: String,
    /// The number of the batch; 0 in NDJSON, which does not say.
    pub batch_seq: u64,
}

/// What a destination holds.
#[derive(Debug)]
pub struct Delivered {
    /// Its publications, by number.
    pub publications: Vec<Publication>,
    /// The rows of each, sorted.
    pub rows: Vec<Vec<DeliveredRow>>,
}

impl Delivered {
    /// Reads the feed of a folder and every file it lists.
    pub(crate) async fn read(db: &Db, folder: &Path, format: FileFormat) -> Result<Self> {
        let mut patients = BTreeMap::new();
        for connection in db.connections(None, 10_000).await? {
            patients.insert(
                connection.id.to_string(),
                connection.external_id.unwrap_or_default(),
            );
        }
        let mut publications = Vec::new();
        let feed = folder.join("_chartlift/publications");
        if feed.exists() {
            for entry in std::fs::read_dir(&feed)? {
                let path = entry?.path();
                // A kill may leave what was to become a publication: `….json#1`.
                if path.extension().is_some_and(|ending| ending == "json") {
                    let text = std::fs::read(path)?;
                    publications.push(serde_json::from_slice::<Publication>(&text)?);
                }
            }
        }
        publications.sort_by_key(|publication| publication.number);
        let mut rows = Vec::new();
        for (number, publication) in (1..).zip(&publications) {
            ensure!(
                publication.number == number,
                "publication {number} is missing"
            );
            let mut of = Vec::new();
            for part in &publication.parts {
                of.extend(rows_of(folder, format, part, &patients)?);
            }
            of.sort();
            rows.push(of);
        }
        Ok(Self { publications, rows })
    }

    /// All rows, sorted.
    #[must_use]
    pub fn all(&self) -> Vec<DeliveredRow> {
        let mut all: Vec<DeliveredRow> = self.rows.concat();
        all.sort();
        all
    }
}

fn rows_of(
    folder: &Path,
    format: FileFormat,
    part: &Part,
    patients: &BTreeMap<String, String>,
) -> Result<Vec<DeliveredRow>> {
    let bytes =
        Bytes::from(std::fs::read(folder.join(&part.path)).with_context(|| part.path.clone())?);
    let mut rows = Vec::new();
    formats::read_rows(format, part.deleted, &bytes, |row| {
        rows.push(DeliveredRow {
            patient: row
                .origin
                .map(|(connection, _)| patients[connection].clone())
                .unwrap_or_default(),
            resource_type: row.resource_type.to_owned(),
            id: row.id.to_owned(),
            content_hash: row
                .content_hash
                .map(|hash| hash.to_string())
                .unwrap_or_default(),
            batch_seq: row.origin.map_or(0, |(_, seq)| seq),
        });
    })?;
    ensure!(
        rows.len() as u64 == part.row_count,
        "{} has {} rows, not {}",
        part.path,
        rows.len(),
        part.row_count
    );
    Ok(rows)
}

/// The lines of a zstd or plain NDJSON file, in order.
pub fn lines_of(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let mut text = Vec::new();
    if path.extension().is_some_and(|ending| ending == "zst") {
        zstd::stream::read::Decoder::new(file)?.read_to_end(&mut text)?;
    } else {
        std::io::BufReader::new(file).read_to_end(&mut text)?;
    }
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

//! The manifest of an NDJSON export, in the shape of Bulk Data's, so that tools
//! for bulk exports find the files. A copy of the publication: only that counts.

use model::{FileFormat, ObjectKey, Part, Publication};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::{Error, FileDestination};

/// <https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest>
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    transaction_time: String,
    request: String,
    requires_access_token: bool,
    output: Vec<File>,
    deleted: Vec<File>,
    /// Always empty: what could not be delivered is the run's to say.
    error: [(); 0],
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    r#type: String,
    /// Relative to the manifest.
    url: String,
    count: u64,
    file_size: u64,
}

impl FileDestination {
    /// Adds the files of a publication of NDJSON to its export's manifest; added
    /// twice, they stand there once. A publication of another format or a burnt
    /// one has none. An export has one writer, so nothing is lost between reading
    /// and writing.
    pub async fn write_manifest(&self, publication: &Publication) -> Result<(), Error> {
        if publication.format == FileFormat::Parquet || publication.burnt {
            return Ok(());
        }
        let key = ObjectKey::Manifest {
            export: publication.export_id,
        }
        .to_string();
        let folder = key.strip_suffix("manifest.json").unwrap_or_default();
        let files = |deleted| {
            let parts = publication
                .parts
                .iter()
                .filter(move |part| part.deleted == deleted);
            parts
                .map(|part| file(part, folder))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut manifest = Manifest {
            transaction_time: publication.published_at.clone(),
            request: String::new(),
            requires_access_token: false,
            output: files(false)?,
            deleted: files(true)?,
            error: [],
        };
        // One that cannot be read is a copy that can be made anew.
        if let Some(bytes) = self.read(&Path::from(key.clone())).await?
            && let Ok(before) = serde_json::from_slice::<Manifest>(&bytes)
        {
            add(&mut manifest.output, before.output);
            add(&mut manifest.deleted, before.deleted);
        }
        let bytes = serde_json::to_vec_pretty(&manifest).expect("text and numbers serialise");
        self.replace(&Path::from(key), bytes.into()).await
    }
}

/// Puts the files that were listed before in front, each once.
fn add(files: &mut Vec<File>, before: Vec<File>) {
    let mut all: Vec<File> = before
        .into_iter()
        .filter(|old| files.iter().all(|new| new.url != old.url))
        .collect();
    all.append(files);
    *files = all;
}

fn file(part: &Part, folder: &str) -> Result<File, Error> {
    let url = part
        .path
        .strip_prefix(folder)
        .ok_or_else(|| Error::Corrupt {
            object: part.path.clone(),
            what: "it does not lie in the folder of its export".to_owned(),
        })?;
    let r#type = if part.deleted {
        "Bundle".to_owned()
    } else {
        part.resource_type.clone()
    };
    Ok(File {
        r#type,
        url: url.to_owned(),
        count: part.row_count,
        file_size: part.size_bytes,
    })
}

//! The manifest of an NDJSON export, in the shape of Bulk Data's, so that tools
//! for bulk exports find the files. A copy of the publication: only that counts.

use model::{FileFormat, ObjectKey, Part, Publication};
use object_store::path::Path;
use serde::Serialize;

use crate::{Error, FileDestination};

/// <https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    transaction_time: &'a str,
    request: &'a str,
    requires_access_token: bool,
    output: Vec<File<'a>>,
    deleted: Vec<File<'a>>,
    /// Always empty: what could not be delivered is the run's to say.
    error: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    r#type: &'a str,
    /// Relative to the manifest.
    url: &'a str,
    count: u64,
    file_size: u64,
}

impl FileDestination {
    /// Writes the manifest of a publication of NDJSON, once more where there is
    /// one; a publication of another format or a burnt one has none.
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
        let manifest = Manifest {
            transaction_time: &publication.published_at,
            request: "",
            requires_access_token: false,
            output: files(false)?,
            deleted: files(true)?,
            error: [],
        };
        let bytes = serde_json::to_vec_pretty(&manifest).expect("text and numbers serialise");
        self.replace(&Path::from(key), bytes.into()).await
    }
}

fn file<'a>(part: &'a Part, folder: &str) -> Result<File<'a>, Error> {
    let url = part
        .path
        .strip_prefix(folder)
        .ok_or_else(|| Error::Corrupt {
            object: part.path.clone(),
            what: "it does not lie in the folder of its export".to_owned(),
        })?;
    let r#type = if part.deleted {
        "Bundle"
    } else {
        part.resource_type.as_str()
    };
    Ok(File {
        r#type,
        url,
        count: part.row_count,
        file_size: part.size_bytes,
    })
}

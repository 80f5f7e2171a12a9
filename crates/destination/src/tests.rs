//! One suite that every store must pass, here a local folder and memory.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use model::{
    ConnectionId, DestinationId, ExportCounts, ExportId, FileFormat, ObjectKey, Part, Publication,
    Span,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

mod faulty;
mod probe;
mod publications;

/// Each store there is, empty; the folder lives as long as the destination.
fn destinations() -> Vec<(FileDestination, Option<TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().join("a new/folder é");
    let local = FileDestination::open(location.to_str().unwrap(), DestinationId::new()).unwrap();
    let memory = FileDestination::over(Arc::new(InMemory::new()), DestinationId::new());
    vec![(local, Some(folder)), (memory, None)]
}

fn publication(destination: &FileDestination, number: u64, parts: Vec<Part>) -> Publication {
    Publication {
        version: model::PUBLICATION_VERSION,
        destination_id: destination.id(),
        number,
        export_id: ExportId::new(),
        plan_id: format!("plan-{number}"),
        epoch: 0,
        burnt: false,
        format: FileFormat::NdjsonGzip,
        published_at: "2024-05-01T08:00:00Z".into(),
        spans: vec![Span {
            connection_id: ConnectionId::new(),
            from: 0,
            to: 3,
            row_count: 2,
        }],
        parts,
        counts: ExportCounts {
            planned: 2,
            delivered: 2,
            skipped: 0,
            failed: 0,
        },
    }
}

fn part(export: ExportId, bytes: &[u8], deleted: bool) -> (ObjectKey, Part) {
    let sha256 = HEXLOWER.encode(&Sha256::digest(bytes));
    let key = ObjectKey::NdjsonPart {
        resource_type: "Patient".into(),
        export,
        number: 0,
        hash: sha256[..16].into(),
        format: FileFormat::NdjsonGzip,
        deleted,
    };
    let part = Part {
        path: key.to_string(),
        resource_type: "Patient".into(),
        deleted,
        row_count: 2,
        size_bytes: bytes.len() as u64,
        sha256,
    };
    (key, part)
}

async fn overwrite(destination: &FileDestination, path: &str, bytes: &'static [u8]) {
    destination
        .replace(&Path::from(path), Bytes::from_static(bytes))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_prefix_has_one_owner() {
    for (destination, _folder) in destinations() {
        assert!(matches!(
            destination.confirm_owner().await,
            Err(Error::NotFound { .. })
        ));
        destination.claim_owner().await.unwrap();
        destination.claim_owner().await.unwrap();
        destination.check().await.unwrap();

        let other = FileDestination::over(Arc::clone(&destination.store), DestinationId::new());
        for error in [
            other.claim_owner().await.unwrap_err(),
            other.check().await.unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::ForeignOwner { owner } if owner == destination.id()),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("give this destination a folder or prefix of its own")
            );
        }

        overwrite(&destination, "_chartlift/owner.json", b"{").await;
        assert!(matches!(
            destination.confirm_owner().await,
            Err(Error::Corrupt { .. })
        ));
        let later = format!(r#"{{"version":2,"destination_id":"{}"}}"#, destination.id());
        overwrite(
            &destination,
            "_chartlift/owner.json",
            later.leak().as_bytes(),
        )
        .await;
        assert!(matches!(
            destination.claim_owner().await,
            Err(Error::Newer { version: 2, .. })
        ));
    }
}

#[tokio::test]
async fn parts_are_written_once_and_checked() {
    for (destination, _folder) in destinations() {
        let export = ExportId::new();
        let (key, part) = part(export, b"two\nlines\n", false);
        assert_eq!(
            destination.check_part(&part).await.unwrap(),
            PartCheck::Missing
        );
        assert_eq!(destination.part_size(&part).await.unwrap(), None);
        let error = destination.read_part(&part).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotFound { object } if *object == part.path),
            "{error}"
        );

        let bytes = Bytes::from_static(b"two\nlines\n");
        destination.put_part(&key, bytes.clone()).await.unwrap();
        destination.put_part(&key, bytes.clone()).await.unwrap();
        assert_eq!(destination.read_part(&part).await.unwrap(), bytes);
        assert_eq!(
            destination.check_part(&part).await.unwrap(),
            PartCheck::Sound(bytes.clone())
        );
        let listed = StoredObject {
            path: part.path.clone(),
            size_bytes: part.size_bytes,
        };
        assert_eq!(destination.list_parts().await.unwrap(), [listed]);

        overwrite(&destination, &part.path, b"two\nlimes\n").await;
        assert!(matches!(
            destination.check_part(&part).await.unwrap(),
            PartCheck::Hash { .. }
        ));
        overwrite(&destination, &part.path, b"tw").await;
        assert_eq!(
            destination.check_part(&part).await.unwrap(),
            PartCheck::Size { size_bytes: 2 }
        );
        let error = destination.put_part(&key, bytes).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("it has 2 bytes and should have 10"),
            "{error}"
        );

        for path in ["../outside", "a//b"] {
            let stray = Part {
                path: path.into(),
                ..part.clone()
            };
            assert!(
                matches!(
                    destination.check_part(&stray).await,
                    Err(Error::Corrupt { .. })
                ),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn the_manifest_is_bulk_datas() {
    for (destination, _folder) in destinations() {
        let mut publication = publication(&destination, 1, vec![]);
        let (_, live) = part(publication.export_id, b"live", false);
        let (_, gone) = part(publication.export_id, b"gone!", true);
        publication.parts = vec![live.clone(), gone.clone()];
        destination.write_manifest(&publication).await.unwrap();
        destination.write_manifest(&publication).await.unwrap();

        let key = ObjectKey::Manifest {
            export: publication.export_id,
        }
        .to_string();
        let bytes = destination
            .read(&Path::from(key.as_str()))
            .await
            .unwrap()
            .unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected = serde_json::json!({
            "transactionTime": "2024-05-01T08:00:00Z",
            "request": "",
            "requiresAccessToken": false,
            "output": [{
                "type": "Patient",
                "url": format!("Patient.000-{}.ndjson.gz", &live.sha256[..16]),
                "count": 2,
                "fileSize": 4,
            }],
            "deleted": [{
                "type": "Bundle",
                "url": format!("deleted/Patient.000-{}.ndjson.gz", &gone.sha256[..16]),
                "count": 2,
                "fileSize": 5,
            }],
            "error": [],
        });
        assert_eq!(manifest, expected);
        assert_eq!(
            destination.list_parts().await.unwrap(),
            [],
            "a manifest is not a part"
        );

        publication.parts[0].path = "ndjson/elsewhere/Patient.ndjson".into();
        assert!(matches!(
            destination.write_manifest(&publication).await,
            Err(Error::Corrupt { .. })
        ));
        publication.format = FileFormat::Parquet;
        destination.write_manifest(&publication).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_store_says_decides_what_a_caller_does() {
    let io = |kind| object_store::Error::Generic {
        store: "test",
        source: std::io::Error::from(kind).into(),
    };
    assert!(matches!(
        Error::of("x", io(std::io::ErrorKind::PermissionDenied)),
        Error::Denied { .. }
    ));
    assert!(matches!(
        Error::of("x", io(std::io::ErrorKind::ReadOnlyFilesystem)),
        Error::Denied { .. }
    ));
    assert!(matches!(
        Error::of("x", io(std::io::ErrorKind::StorageFull)),
        Error::Unavailable { .. }
    ));
    assert!(matches!(
        Error::of("x", io(std::io::ErrorKind::TimedOut)),
        Error::Unavailable { .. }
    ));

    // A file where a folder should be.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = FileDestination::open(file.join("below").to_str().unwrap(), DestinationId::new())
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let error = FileDestination::open("gs://bucket/prefix", DestinationId::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "location `gs://…` is not supported: this version writes to local folders and to S3; \
         give an absolute folder path, a file:// URL or s3://bucket/prefix"
    );
}

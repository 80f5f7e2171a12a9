//! Rows come back as they were written, and damage is an error.

use model::{Change, Head, Reason, RowMeta, Timestamp};

use super::*;
use crate::{PartWriter, RowContext, lists_deletions};

fn file(format: FileFormat, change: Change, count: usize) -> Bytes {
    let context = RowContext {
        source: "https://portal.example/fhir",
        patient_id: model::PatientId::new(),
        connection_id: model::ConnectionId::new(),
        export_id: model::ExportId::new(),
    };
    let deleted = lists_deletions(format, change);
    let mut part = PartWriter::new(format, "Observation", deleted, 1 << 20).unwrap();
    for n in 0..count {
        let id = format!("a/\\\"é{n}");
        let (quoted, padding) = (serde_json::to_string(&id).unwrap(), "x ".repeat(n % 700));
        let text =
            format!(r#"{{"resourceType":"Observation","id":{quoted},"v":1.10,"p":"{padding}"}}"#);
        let row = RowMeta {
            head: Head {
                resource_type: "Observation".into(),
                id,
                version_id: None,
                last_updated: None,
            },
            change,
            reason: if change == Change::Deleted {
                Reason::Absent
            } else {
                Reason::None
            },
            content_hash: content_hash(text.as_bytes()),
            fetched_at: Timestamp(0),
            batch_seq: 3,
            settle_seq: 4,
        };
        part.push(&context, &row, text.as_bytes()).unwrap();
    }
    part.finish().unwrap().bytes
}

#[test]
fn rows_come_back_and_damage_is_an_error() {
    for format in FileFormat::ALL.iter().copied() {
        for change in [Change::Changed, Change::Deleted] {
            let deleted = lists_deletions(format, change);
            let bytes = file(format, change, 3000);
            let mut at = 0;
            let count = read_rows(format, deleted, &bytes, |row| {
                assert_eq!(
                    (row.resource_type, row.id),
                    ("Observation", format!("a/\\\"é{at}").as_str())
                );
                assert_eq!(row.content_hash.is_none(), change == Change::Deleted);
                assert_eq!(
                    row.origin.map(|(_, seq)| seq),
                    (format == FileFormat::Parquet).then_some(3)
                );
                at += 1;
            });
            assert_eq!((count.unwrap(), at), (3000, 3000), "{format}");
            assert_eq!(
                read_rows(format, deleted, &file(format, change, 0), |_| ()).unwrap(),
                0
            );
            let cut = bytes.slice(..bytes.len() - 5);
            assert!(
                read_rows(format, deleted, &cut, |_| ()).is_err(),
                "{format}"
            );
        }
    }
    let texts: [&[u8]; 3] = [b"{}\n", b"\n", b"{\"resourceType\":\"Bundle\"}\n"];
    for text in texts {
        for deleted in [false, true] {
            assert!(
                read_rows(
                    FileFormat::Ndjson,
                    deleted,
                    &Bytes::from_static(text),
                    |_| ()
                )
                .is_err()
            );
        }
    }
}

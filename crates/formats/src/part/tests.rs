use std::io::Read;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use model::{Head, Reason, Timestamp, content_hash};

use super::*;
use crate::{count_rows, schema};

mod bounds;

const SOURCE: &str = "https://portal.example/fhir";

fn context() -> RowContext<'static> {
    let id = "0190f3a1b2c37d4e8f5061728394a5b6";
    RowContext {
        source: SOURCE,
        patient_id: format!("pat_{id}").parse().unwrap(),
        connection_id: format!("con_{id}").parse().unwrap(),
        export_id: format!("exp_{id}").parse().unwrap(),
    }
}

fn row(id: &str, change: Change, text: &[u8]) -> RowMeta {
    RowMeta {
        head: Head {
            resource_type: "Observation".into(),
            id: id.into(),
            version_id: (change == Change::Changed).then(|| "2".to_owned()),
            last_updated: Some("2024-05-01T10:00:00.000+02:00".into()),
        },
        change,
        reason: if change == Change::Deleted {
            Reason::SourceDeleted
        } else {
            Reason::None
        },
        content_hash: content_hash(text),
        fetched_at: Timestamp(1_714_550_400_000_001),
        batch_seq: 3,
        settle_seq: 41,
    }
}

/// Texts that formats stumble over: unicode, escapes, number text, length.
fn texts() -> Vec<String> {
    let mut texts = vec![
        r#"{"resourceType":"Observation","id":"1","v":1.10,"e":"\u00e9\/\n"}"#.to_owned(),
        r#"{"resourceType":"Observation","id":"2","name":"Zoë 患者 👩‍⚕️"}"#.to_owned(),
        format!(
            r#"{{"resourceType":"Observation","id":"3","data":"{}"}}"#,
            "QUJD".repeat(5 << 18)
        ),
    ];
    // Enough for several members and for a text that does not compress away.
    texts.extend((0_u64..6000).map(|n| {
        let noise = content_hash(&n.to_le_bytes());
        format!(
            r#"{{"resourceType":"Observation","id":"n{n}","v":"{noise}","t":"{}"}}"#,
            "abc ".repeat(100)
        )
    }));
    texts
}

fn written(format: FileFormat, texts: &[String]) -> FinishedPart {
    let mut part = PartWriter::new(format, "Observation", false, PART_SIZE_BYTES_TARGET).unwrap();
    for (at, text) in texts.iter().enumerate() {
        let change = if at % 2 == 0 {
            Change::New
        } else {
            Change::Changed
        };
        part.push(
            &context(),
            &row(&format!("id-{at}"), change, text.as_bytes()),
            text.as_bytes(),
        )
        .unwrap();
    }
    assert_eq!(part.row_count(), texts.len() as u64);
    part.finish().unwrap()
}

/// Cuts a chain of gzip members as our own counting does, text by text.
fn gunzip(file: &[u8]) -> (Vec<u8>, usize) {
    let (mut text, mut members, mut rest) = (Vec::new(), 0, file);
    while !rest.is_empty() {
        let next = rest[1..]
            .windows(4)
            .position(|bytes| bytes == [0x1f, 0x8b, 8, 0])
            .map_or(rest.len(), |at| at + 1);
        let (member, after) = rest.split_at(next);
        let length = u32::from_le_bytes(*member.last_chunk().unwrap()) as usize;
        let mut out = vec![0; length];
        assert_eq!(
            libdeflater::Decompressor::new()
                .gzip_decompress(member, &mut out)
                .unwrap(),
            length
        );
        text.extend(out);
        members += 1;
        rest = after;
    }
    (text, members)
}

fn unzstd(file: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    zstd::stream::read::Decoder::new(file)
        .unwrap()
        .read_to_end(&mut text)
        .unwrap();
    text
}

fn batches(file: &Bytes) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    assert_eq!(builder.schema().fields(), schema().fields());
    builder.build().unwrap().map(Result::unwrap).collect()
}

fn column(batches: &[RecordBatch], name: &str) -> Vec<Option<String>> {
    let values = |batch: &RecordBatch| {
        let array = batch
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>()
            .clone();
        array
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(values).collect()
}

#[test]
fn ndjson_keeps_every_byte_in_every_compression() {
    let texts = texts();
    let lines: String = texts.iter().map(|text| format!("{text}\n")).collect();

    let plain = written(FileFormat::Ndjson, &texts);
    assert_eq!(plain.bytes, lines);

    let gzip = written(FileFormat::NdjsonGzip, &texts);
    let (text, members) = gunzip(&gzip.bytes);
    assert!(text == lines.as_bytes());
    assert!(members >= 4, "{members} members");

    let zstd = written(FileFormat::NdjsonZstd, &texts);
    assert!(unzstd(&zstd.bytes) == lines.as_bytes());

    for part in [plain, gzip, zstd] {
        assert_eq!(part.row_count, texts.len() as u64);
        assert_eq!(
            count_rows(part.format, &part.bytes).unwrap(),
            part.row_count
        );
    }
}

#[test]
fn parquet_keeps_every_byte_and_every_column() {
    let texts = texts();
    let part = written(FileFormat::Parquet, &texts);
    let batches = batches(&part.bytes);
    let resources: Vec<_> = column(&batches, "resource")
        .into_iter()
        .map(Option::unwrap)
        .collect();
    assert!(resources == texts);

    let first = &batches[0];
    let text = |name: &str| column(&batches, name)[1].clone();
    assert_eq!(text("source").unwrap(), SOURCE);
    assert_eq!(text("resource_type").unwrap(), "Observation");
    assert_eq!(text("id").unwrap(), "id-1");
    assert_eq!(
        text("patient_id").unwrap(),
        context().patient_id.to_string()
    );
    assert_eq!(
        text("connection_id").unwrap(),
        context().connection_id.to_string()
    );
    assert_eq!(text("export_id").unwrap(), context().export_id.to_string());
    assert_eq!(text("version_id").unwrap(), "2");
    assert_eq!(column(&batches, "version_id")[0], None);
    assert_eq!(
        text("last_updated").unwrap(),
        "2024-05-01T10:00:00.000+02:00"
    );
    assert_eq!(text("change").unwrap(), "changed");
    assert_eq!(text("reason").unwrap(), "none");
    assert_eq!(
        text("content_hash").unwrap(),
        content_hash(texts[1].as_bytes()).to_string()
    );
    assert_eq!(
        first
            .column_by_name("batch_seq")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        3
    );
    assert_eq!(
        first
            .column_by_name("settle_seq")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        41
    );
    let pulled = first
        .column_by_name("pulled_at")
        .unwrap()
        .as_primitive::<TimestampMicrosecondType>();
    assert_eq!(pulled.value(0), 1_714_550_400_000_001);

    let reader = SerializedFileReader::new(part.bytes.clone()).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().created_by(), Some("chartlift"));
    assert!(metadata.file_metadata().key_value_metadata().is_none());
    let group = metadata.row_group(0);
    let chunk = |name: &str| {
        group
            .columns()
            .iter()
            .find(|chunk| chunk.column_path().string() == name)
            .unwrap()
    };
    assert!(chunk("id").bloom_filter_offset().is_some() && chunk("id").statistics().is_some());
    assert!(
        chunk("resource").bloom_filter_offset().is_none()
            && chunk("resource").statistics().is_none()
    );
    assert!(
        chunk("resource").dictionary_page_offset().is_none()
            && chunk("source").dictionary_page_offset().is_some()
    );
    assert_eq!(
        count_rows(FileFormat::Parquet, &part.bytes).unwrap(),
        part.row_count
    );
}

#[test]
fn deletions_have_files_of_their_own_or_rows_without_a_resource() {
    // The slash, the quote and the line feed are a source's odd id, not ours.
    let ids = ["a-1", "odd/\"id\"\n\\ é"];
    let mut part = PartWriter::new(FileFormat::Ndjson, "Observation", true, 1).unwrap();
    for id in ids {
        part.push(&context(), &row(id, Change::Deleted, b""), b"")
            .unwrap();
    }
    let part = part.finish().unwrap();
    let lines: Vec<_> = std::str::from_utf8(&part.bytes).unwrap().lines().collect();
    assert_eq!(
        lines[0],
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Observation/a-1"}}]}"#
    );
    let odd: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(
        odd["entry"][0]["request"]["url"],
        format!("Observation/{}", ids[1])
    );
    assert_eq!((part.row_count, lines.len()), (2, 2));
    let key = part.key(context().export_id, 0).to_string();
    assert!(key.contains("/deleted/Observation.000-"), "{key}");

    let mut part = PartWriter::new(FileFormat::Parquet, "Observation", false, 1).unwrap();
    part.push(
        &context(),
        &row(ids[1], Change::Deleted, b"{}"),
        b"not looked at",
    )
    .unwrap();
    let part = part.finish().unwrap();
    let batches = batches(&part.bytes);
    assert_eq!(column(&batches, "resource"), [None]);
    assert_eq!(column(&batches, "id"), [Some(ids[1].to_owned())]);
    assert_eq!(
        column(&batches, "reason"),
        [Some("source-deleted".to_owned())]
    );
}

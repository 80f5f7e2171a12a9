//! Sameness, size, and what is refused, in writing and in counting.

use super::*;

#[test]
fn the_same_rows_give_the_same_bytes_and_name() {
    let texts = texts();
    for format in FileFormat::ALL.iter().copied() {
        let (first, second) = (written(format, &texts), written(format, &texts));
        assert!(first == second, "{format}");
        let key = first.key(context().export_id, 7);
        assert_eq!(
            key.to_string(),
            second.key(context().export_id, 7).to_string()
        );
        assert_ne!(
            key.to_string(),
            written(format, &texts[1..])
                .key(context().export_id, 7)
                .to_string()
        );
        let described = first.describe(&key);
        assert_eq!(described.size_bytes, first.bytes.len() as u64);
        assert_eq!(described.sha256.len(), 64);
        assert!(described.path.ends_with(format.extension()));
    }
}

#[test]
fn an_empty_part_is_a_file_without_rows() {
    for format in FileFormat::ALL.iter().copied() {
        let part = PartWriter::new(format, "Patient", false, 1)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(part.row_count, 0);
        assert_eq!(count_rows(format, &part.bytes).unwrap(), 0, "{format}");
    }
}

#[test]
fn a_part_says_when_it_is_full() {
    for format in FileFormat::ALL.iter().copied() {
        let mut part = PartWriter::new(format, "Observation", false, 1 << 20).unwrap();
        let mut row_count = 0_u64;
        while !part.is_full() {
            let noise: String = (0..64)
                .map(|n| content_hash(&[row_count.to_le_bytes(), [n; 8]].concat()).to_string())
                .collect();
            part.push(&context(), &row("id", Change::New, b"{}"), noise.as_bytes())
                .unwrap();
            row_count += 1;
            assert!(row_count < 100_000, "{format} never fills");
        }
        let part = part.finish().unwrap();
        // Never more than one batch beyond the target.
        assert!(
            part.bytes.len() < 10 << 20,
            "{format}: {}",
            part.bytes.len()
        );
    }
}

#[test]
fn row_groups_close_by_encoded_size() {
    let mut part = PartWriter::new(
        FileFormat::Parquet,
        "Observation",
        false,
        PART_SIZE_BYTES_TARGET,
    )
    .unwrap();
    let noise: String = (0_u64..80_000)
        .map(|n| content_hash(&n.to_le_bytes()).to_string())
        .collect();
    for _ in 0..30 {
        part.push(&context(), &row("id", Change::New, b"{}"), noise.as_bytes())
            .unwrap();
    }
    let part = part.finish().unwrap();
    let reader = SerializedFileReader::new(part.bytes).unwrap();
    let sizes: Vec<_> = reader
        .metadata()
        .row_groups()
        .iter()
        .map(|group| group.compressed_size() >> 20)
        .collect();
    assert!(
        sizes.len() == 2 && (30..48).contains(&sizes[0]),
        "{sizes:?}"
    );
}

#[test]
fn what_cannot_be_written_is_refused_without_its_text() {
    let secret = "Jane-Doe-1970";
    let push = |format, deleted, row: &RowMeta, text: &[u8]| {
        PartWriter::new(format, "Observation", deleted, 1)?.push(&context(), row, text)
    };
    let live = row(secret, Change::New, b"{}");
    let gone = row(secret, Change::Deleted, b"{}");
    let mut patient = live.clone();
    patient.head.resource_type = "Patient".into();
    let mut far = live.clone();
    far.settle_seq = u64::MAX;
    let text = format!("{{\"n\":\"{secret}\"}}");
    let errors = [
        push(FileFormat::Ndjson, false, &gone, b"").unwrap_err(),
        push(FileFormat::NdjsonGzip, true, &live, text.as_bytes()).unwrap_err(),
        push(FileFormat::Parquet, true, &gone, b"").unwrap_err(),
        push(FileFormat::Parquet, false, &patient, text.as_bytes()).unwrap_err(),
        push(FileFormat::Parquet, false, &far, text.as_bytes()).unwrap_err(),
        push(
            FileFormat::NdjsonZstd,
            false,
            &live,
            format!("{text}\n").as_bytes(),
        )
        .unwrap_err(),
        push(
            FileFormat::Parquet,
            false,
            &live,
            &[text.as_bytes(), &[0xff]].concat(),
        )
        .unwrap_err(),
        PartWriter::new(FileFormat::Ndjson, "../Patient", false, 1)
            .err()
            .unwrap(),
    ];
    for error in errors {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let texts = texts();
    for format in FileFormat::ALL.iter().copied() {
        let whole = written(format, &texts).bytes;
        let cut = whole.slice(..whole.len() - 3);
        assert!(
            matches!(count_rows(format, &cut), Err(Error::Corrupt { .. })),
            "{format} cut"
        );
    }
    for format in [FileFormat::NdjsonGzip, FileFormat::NdjsonZstd] {
        let mut bytes = written(format, &texts).bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert!(
            count_rows(format, &Bytes::from(bytes)).is_err(),
            "{format} flipped"
        );
        assert!(count_rows(format, &Bytes::new()).is_err(), "{format} empty");
    }
}

#[test]
fn counting_survives_any_bytes() {
    bolero::check!()
        .with_type::<(u8, Vec<u8>)>()
        .for_each(|(format, bytes)| {
            let format = FileFormat::ALL[usize::from(*format) % FileFormat::ALL.len()];
            let _ = count_rows(format, &Bytes::copy_from_slice(bytes));
            let magic: &[u8] = match format {
                FileFormat::Ndjson => b"",
                FileFormat::NdjsonGzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
                FileFormat::NdjsonZstd => &[0x28, 0xb5, 0x2f, 0xfd],
                FileFormat::Parquet => b"PAR1",
            };
            let mut framed = [magic, bytes].concat();
            if format == FileFormat::Parquet {
                framed.extend((bytes.len() as u32).to_le_bytes());
                framed.extend(magic);
            }
            let _ = count_rows(format, &Bytes::from(framed));
        });
}

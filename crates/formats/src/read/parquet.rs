//! The rows of a Parquet file.

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use bytes::Bytes;
use model::{Change, ContentHash, FileFormat, content_hash, read_head};

use super::FileRow;
use crate::Error;

/// Rows decoded at once: as many of the largest resources the record store takes
/// (256 MiB) as stay below the 2 GiB at which Arrow's offsets end.
const BATCH_ROW_COUNT: usize = 7;

pub(super) fn read_parquet(file: &Bytes, mut each: impl FnMut(FileRow<'_>)) -> Result<u64, Error> {
    let corrupt = |what| Error::Corrupt {
        format: FileFormat::Parquet,
        what,
    };
    let unreadable = |_| corrupt("its rows cannot be read");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())
        .map_err(|_| corrupt("its footer cannot be read"))?;
    let columns = [
        "resource_type",
        "id",
        "connection_id",
        "change",
        "batch_seq",
        "settle_seq",
        "content_hash",
        "resource",
    ];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROW_COUNT)
        .build()
        .map_err(unreadable)?;
    let mut row_count = 0;
    for batch in reader {
        let batch = batch.map_err(|_| corrupt("its rows cannot be read"))?;
        row_count += batch.num_rows() as u64;
        read_batch(&batch, &mut each).map_err(corrupt)?;
    }
    Ok(row_count)
}

fn read_batch(batch: &RecordBatch, each: &mut impl FnMut(FileRow<'_>)) -> Result<(), &'static str> {
    const SCHEMA: &str = "it has not the published columns";
    let text = |name| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or(SCHEMA)
    };
    let (types, ids, connections) = (text("resource_type")?, text("id")?, text("connection_id")?);
    let (changes, hashes, resources) = (text("change")?, text("content_hash")?, text("resource")?);
    let number = |name| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .ok_or(SCHEMA)
    };
    let (seqs, settles) = (number("batch_seq")?, number("settle_seq")?);
    for row in 0..batch.num_rows() {
        let is_deletion = changes.value(row) == Change::Deleted.as_str();
        if is_deletion != resources.is_null(row) {
            return Err("a deletion has a resource, or another row has none");
        }
        let hash = if is_deletion {
            None
        } else {
            Some(checked(row, types, ids, hashes, resources)?)
        };
        let seq = u64::try_from(seqs.value(row)).map_err(|_| "a batch number is negative")?;
        let settle =
            u64::try_from(settles.value(row)).map_err(|_| "a settle number is negative")?;
        each(FileRow {
            origin: Some((connections.value(row), seq)),
            settle_seq: Some(settle),
            resource_type: types.value(row),
            id: ids.value(row),
            content_hash: hash,
        });
    }
    Ok(())
}

/// The hash of a row's resource, if its columns say the same as its text.
fn checked(
    row: usize,
    types: &StringArray,
    ids: &StringArray,
    hashes: &StringArray,
    resources: &StringArray,
) -> Result<ContentHash, &'static str> {
    let text = resources.value(row).as_bytes();
    let hash = content_hash(text);
    if hash.to_string() != hashes.value(row) {
        return Err("a content hash is not that of its resource");
    }
    let head = read_head(text).map_err(|_| "a resource cannot be read")?;
    if head.resource_type == types.value(row) && head.id == ids.value(row) {
        Ok(hash)
    } else {
        Err("a row names another resource than its text")
    }
}

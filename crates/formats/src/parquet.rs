//! Parquet: one published schema for every resource type, the resource as JSON
//! text in its last column. Tombstones are rows without one.

use std::fmt::{Display, Write};
use std::sync::{Arc, LazyLock};

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow_array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use model::{FileFormat, RowMeta};

use crate::{Error, RowContext};

/// Encoded size at which a row group is closed: what a reader has to hold. While
/// it is closed we hold it twice, so that a small part has smaller ones.
const ROW_GROUP_SIZE_BYTES_MAX: usize = 32 << 20;
/// Row groups of a part, at least, if they can be smaller than the above.
const ROW_GROUPS_PER_PART: usize = 4;
/// Text at which a batch is handed to the encoder.
const BATCH_SIZE_BYTES: usize = 8 << 20;
/// Rows at which a batch is handed to the encoder: tombstones have no text.
const BATCH_ROW_COUNT: usize = 32 << 10;
/// zstd's level: on FHIR it compresses better than its own 3, in half the time.
const ZSTD_LEVEL: i32 = 1;
/// How often the bloom filter may let a reader look for an id in vain.
const BLOOM_FPP: f64 = 0.01;
/// The zone of `pulled_at`.
const UTC: &str = "UTC";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let nullable_text = |name| Field::new(name, DataType::Utf8, true);
    let number = |name| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        text("source"),
        text("resource_type"),
        text("id"),
        text("patient_id"),
        text("connection_id"),
        nullable_text("version_id"),
        nullable_text("last_updated"),
        text("change"),
        text("reason"),
        number("batch_seq"),
        number("settle_seq"),
        Field::new(
            "pulled_at",
            DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            false,
        ),
        text("export_id"),
        text("content_hash"),
        nullable_text("resource"),
    ]))
});

/// The columns of every table. Changes additively only.
#[must_use]
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

pub(crate) struct ParquetWriter {
    writer: ArrowWriter<Vec<u8>>,
    batch: Batch,
    row_group_size_bytes: usize,
}

impl ParquetWriter {
    pub(crate) fn new(size_bytes_target: usize) -> Result<Self, Error> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties()?)
            // The columns' own types say all there is; a copy of Arrow's schema
            // would tie the bytes to Arrow's version.
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), schema(), options).map_err(encode)?;
        let row_group_size_bytes =
            ROW_GROUP_SIZE_BYTES_MAX.min(size_bytes_target / ROW_GROUPS_PER_PART);
        Ok(Self {
            writer,
            batch: Batch::new(),
            row_group_size_bytes,
        })
    }

    pub(crate) fn push(
        &mut self,
        context: &RowContext<'_>,
        row: &RowMeta,
        text: Option<&str>,
    ) -> Result<(), Error> {
        let waiting = self.batch.size_bytes + text.map_or(0, str::len);
        if self.batch.row_count == BATCH_ROW_COUNT
            || (self.batch.row_count > 0 && waiting > BATCH_SIZE_BYTES)
        {
            self.write_batch()?;
        }
        self.batch.push(context, row, text)
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let batch = std::mem::replace(&mut self.batch, Batch::new()).finish()?;
        self.writer.write(&batch).map_err(encode)?;
        if self.writer.in_progress_size() >= self.row_group_size_bytes {
            self.writer.flush().map_err(encode)?;
        }
        Ok(())
    }

    pub(crate) fn size_estimate(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Error> {
        if self.batch.row_count > 0 {
            self.write_batch()?;
        }
        self.writer.into_inner().map_err(encode)
    }
}

/// Rows on their way to the encoder.
struct Batch {
    row_count: usize,
    size_bytes: usize,
    source: StringBuilder,
    resource_type: StringBuilder,
    id: StringBuilder,
    patient_id: StringBuilder,
    connection_id: StringBuilder,
    version_id: StringBuilder,
    last_updated: StringBuilder,
    change: StringBuilder,
    reason: StringBuilder,
    batch_seq: Int64Builder,
    settle_seq: Int64Builder,
    pulled_at: TimestampMicrosecondBuilder,
    export_id: StringBuilder,
    content_hash: StringBuilder,
    resource: StringBuilder,
}

impl Batch {
    fn new() -> Self {
        Self {
            row_count: 0,
            size_bytes: 0,
            source: StringBuilder::new(),
            resource_type: StringBuilder::new(),
            id: StringBuilder::new(),
            patient_id: StringBuilder::new(),
            connection_id: StringBuilder::new(),
            version_id: StringBuilder::new(),
            last_updated: StringBuilder::new(),
            change: StringBuilder::new(),
            reason: StringBuilder::new(),
            batch_seq: Int64Builder::new(),
            settle_seq: Int64Builder::new(),
            pulled_at: TimestampMicrosecondBuilder::new().with_timezone(UTC),
            export_id: StringBuilder::new(),
            content_hash: StringBuilder::new(),
            resource: StringBuilder::new(),
        }
    }

    fn push(
        &mut self,
        context: &RowContext<'_>,
        row: &RowMeta,
        text: Option<&str>,
    ) -> Result<(), Error> {
        let batch_seq = number("batch_seq", row.batch_seq)?;
        let settle_seq = number("settle_seq", row.settle_seq)?;
        self.source.append_value(context.source);
        self.resource_type.append_value(&row.head.resource_type);
        self.id.append_value(&row.head.id);
        append_display(&mut self.patient_id, &context.patient_id);
        append_display(&mut self.connection_id, &context.connection_id);
        self.version_id
            .append_option(row.head.version_id.as_deref());
        self.last_updated
            .append_option(row.head.last_updated.as_deref());
        self.change.append_value(row.change.as_str());
        self.reason.append_value(row.reason.as_str());
        self.batch_seq.append_value(batch_seq);
        self.settle_seq.append_value(settle_seq);
        self.pulled_at.append_value(row.fetched_at.0);
        append_display(&mut self.export_id, &context.export_id);
        append_display(&mut self.content_hash, &row.content_hash);
        self.resource.append_option(text);
        self.row_count += 1;
        self.size_bytes += row.head.id.len() + text.map_or(0, str::len);
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch, Error> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.source.finish()),
            Arc::new(self.resource_type.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.patient_id.finish()),
            Arc::new(self.connection_id.finish()),
            Arc::new(self.version_id.finish()),
            Arc::new(self.last_updated.finish()),
            Arc::new(self.change.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.batch_seq.finish()),
            Arc::new(self.settle_seq.finish()),
            Arc::new(self.pulled_at.finish()),
            Arc::new(self.export_id.finish()),
            Arc::new(self.content_hash.finish()),
            Arc::new(self.resource.finish()),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|error: ArrowError| encode(error.into()))
    }
}

/// Appends what `value` displays, without a string of its own.
fn append_display(builder: &mut StringBuilder, value: &impl Display) {
    write!(builder, "{value}").expect("a string builder takes every write");
    builder.append_value("");
}

fn number(column: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::OutOfRange { column })
}

/// Dictionaries where values repeat; none, and no statistics, where they would
/// only cost: hashes and resources.
fn properties() -> Result<WriterProperties, Error> {
    let column = |name: &str| ColumnPath::from(name);
    Ok(WriterProperties::builder()
        .set_created_by("chartlift".to_owned())
        .set_compression(Compression::ZSTD(
            ZstdLevel::try_new(ZSTD_LEVEL).map_err(encode)?,
        ))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(column("id"), false)
        .set_column_bloom_filter_fpp(column("id"), BLOOM_FPP)
        .set_column_dictionary_enabled(column("content_hash"), false)
        .set_column_statistics_enabled(column("content_hash"), EnabledStatistics::None)
        .set_column_dictionary_enabled(column("resource"), false)
        .set_column_statistics_enabled(column("resource"), EnabledStatistics::None)
        .build())
}

fn encode(source: ParquetError) -> Error {
    Error::Encode {
        format: FileFormat::Parquet,
        source: source.into(),
    }
}

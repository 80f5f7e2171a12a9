//! `export.chunk`: write the parts of a chunk, one type after another over all
//! its connections, so that only one type's writer is open at a time. The same
//! rows give the same bytes and the same names, whoever writes them. Finished
//! parts and the position after them are saved on the way: an attempt goes on
//! where the one before was cut off.

use db::{ChunkCommit, ChunkSpan, StepRef};
use destination::FileDestination;
use formats::{PartWriter, RowContext};
use model::{Change, ConnectionId, ExportCounts, FileFormat, Part};
use records::{ExportRow, SpanReader};
use std::collections::BTreeSet;
use std::time::Instant;
use steps::{ChunkReceipt, DeliverChunk};

use crate::export::destination_row;
use crate::export_adopt::open;
use crate::export_position::{Position, layout};
use crate::export_span::open_span;
use crate::failure::Failure;
use crate::step::{Claimed, of_export, once};
use crate::{Context, failpoint};

/// Parts of one type that a chunk may write; keeps part numbers of chunks apart.
const PARTS_PER_CHUNK_MAX: u32 = 1000;

pub(crate) async fn run(context: &Context, input: &DeliverChunk) -> Result<ChunkReceipt, Failure> {
    let step = of_export(input.export_id, format!("chunk-{}", input.chunk));
    match once(context, step, |claimed| deliver(context, input, claimed)).await {
        Err(Failure::Final { code, what }) => {
            context
                .db
                .fail_chunk(input.export_id, &input.plan_id, input.chunk, code)
                .await?;
            Err(Failure::Final { code, what })
        }
        end => end,
    }
}

async fn deliver(
    context: &Context,
    input: &DeliverChunk,
    claimed: Claimed,
) -> Result<ChunkReceipt, Failure> {
    let row = destination_row(context, input.destination_id).await?;
    let files = open(context, &row).await?;
    let spans = context
        .db
        .chunk_spans(input.export_id, &input.plan_id, input.chunk)
        .await?;
    let (_, epoch) = context
        .db
        .fixed_plan(input.export_id, &input.plan_id)
        .await?;
    let mut readers = Vec::with_capacity(spans.len());
    for span in &spans {
        readers.push(open_span(&context.db, &context.store, span, epoch).await?);
    }
    let mut chunk = Chunk {
        context,
        input,
        step: &claimed.step,
        token: &claimed.token,
        files,
        format: row.format,
        at: Position::resume(claimed.progress.as_deref(), layout(&readers)),
        saved_at: Instant::now(),
    };
    let types: BTreeSet<String> = readers
        .iter()
        .flat_map(|reader| reader.types().map(|(name, _)| name.to_owned()))
        .collect();
    for resource_type in types.range(chunk.at.resource_type.clone()..) {
        chunk.at.enter(resource_type);
        chunk.write_type(&spans, &readers).await?;
        chunk.save_if_due().await?;
    }
    let parts = chunk.at.parts;
    let counts: Vec<(ConnectionId, ExportCounts)> = spans
        .iter()
        .zip(&readers)
        .map(|(span, reader)| (span.connection_id, counts_of(reader)))
        .collect();
    let receipt = receipt(&parts, &counts);
    let done = ChunkCommit {
        export: input.export_id,
        plan_id: &input.plan_id,
        chunk: input.chunk,
        step: &claimed.step,
        token: &claimed.token,
        parts: &parts,
        spans: &counts,
        receipt: &receipt,
    };
    context.db.finish_chunk(&done).await?;
    Ok(receipt)
}

fn counts_of(reader: &SpanReader) -> ExportCounts {
    let (planned, skipped) = (reader.planned(), reader.skipped());
    ExportCounts {
        planned,
        skipped,
        delivered: planned - skipped,
        failed: 0,
    }
}

fn receipt(parts: &[Part], counts: &[(ConnectionId, ExportCounts)]) -> ChunkReceipt {
    let mut sum = ExportCounts::default();
    for (_, of) in counts {
        sum += *of;
    }
    ChunkReceipt {
        counts: sum,
        parts: parts.len() as u64,
        size_bytes: parts.iter().map(|part| part.size_bytes).sum(),
    }
}

/// A chunk being written.
struct Chunk<'a> {
    context: &'a Context,
    input: &'a DeliverChunk,
    step: &'a StepRef,
    token: &'a str,
    files: FileDestination,
    format: FileFormat,
    at: Position,
    saved_at: Instant,
}

/// The open writers of one type: of resources, and of deletions where the format
/// keeps them in files of their own.
type Open = [Option<PartWriter>; 2];

impl Chunk<'_> {
    /// Writes the rows of the type at hand, from the position on.
    async fn write_type(
        &mut self,
        spans: &[ChunkSpan],
        readers: &[SpanReader],
    ) -> Result<(), Failure> {
        let mut open = Open::default();
        while let Some((span, reader)) = self.at.span_of(spans, readers) {
            let about = RowContext {
                source: &span.source_identity,
                patient_id: span.patient_id,
                connection_id: span.connection_id,
                export_id: self.input.export_id,
            };
            let mut rows = reader.rows_of(&self.at.resource_type);
            rows.skip_rows(self.at.row);
            while let Some(frame) = rows.next_frame().await? {
                for row in frame {
                    self.push(&mut open, &about, &row).await?;
                }
            }
            self.at.next_span();
        }
        for deleted in [false, true] {
            self.close(&mut open, deleted).await?;
        }
        Ok(())
    }

    async fn push(
        &mut self,
        open: &mut Open,
        about: &RowContext<'_>,
        row: &ExportRow,
    ) -> Result<(), Failure> {
        let deleted = formats::lists_deletions(self.format, row.meta.change);
        debug_assert!(!deleted || row.meta.change == Change::Deleted);
        let target = self.context.limits.part_size_target_bytes;
        let target = usize::try_from(target).unwrap_or(usize::MAX);
        let writer = match &mut open[usize::from(deleted)] {
            Some(writer) => writer,
            none => none.insert(PartWriter::new(
                self.format,
                &self.at.resource_type,
                deleted,
                target,
            )?),
        };
        writer.push(about, &row.meta, &row.text)?;
        self.at.row += 1;
        if writer.is_full() {
            self.close(open, deleted).await?;
            // Everything before is in finished parts only while no other is open.
            if open.iter().all(Option::is_none) {
                self.save_if_due().await?;
            }
        }
        Ok(())
    }

    async fn save_if_due(&mut self) -> Result<(), Failure> {
        if self.saved_at.elapsed() < self.context.limits.chunk_save_every {
            return Ok(());
        }
        let (db, plan_id) = (&self.context.db, &self.input.plan_id);
        db.save_chunk(self.step, self.token, plan_id, &self.at.encode())
            .await?;
        self.saved_at = Instant::now();
        failpoint::pass("chunk_save.after").await
    }

    /// Writes an open part, if there is one.
    async fn close(&mut self, open: &mut Open, deleted: bool) -> Result<(), Failure> {
        let Some(writer) = open[usize::from(deleted)].take() else {
            return Ok(());
        };
        let count = &mut self.at.counts[usize::from(deleted)];
        if *count >= PARTS_PER_CHUNK_MAX {
            return Err(Failure::last(
                "too_many_parts",
                "a chunk would need over 1,000 parts of one type: raise worker.part_size_target_bytes",
            ));
        }
        let chunk = u32::try_from(self.input.chunk)
            .map_err(|_| Failure::last("internal", "too many chunks"))?;
        let number = chunk.saturating_mul(PARTS_PER_CHUNK_MAX) + *count;
        *count += 1;
        let part = writer.finish()?;
        let key = part.key(self.input.export_id, number);
        self.at.parts.push(part.describe(&key));
        failpoint::pass("part_write.before").await?;
        self.files.put_part(&key, part.bytes).await?;
        failpoint::pass("part_write.after").await
    }
}

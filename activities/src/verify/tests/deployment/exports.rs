//! An export of the deployment, by the calls that the steps make.

use std::collections::BTreeMap;

use db::{BackOff, NewPlan, PlannedSpan, PublicationCommit, RunKind};
use formats::{PartWriter, RowContext, lists_deletions};
use model::{ExportCounts, PUBLICATION_VERSION, Publication, RunState, Timestamp, Trigger};
use records::{BatchRef, SpanReader};

use super::{Bend, Deployment};

impl Deployment {
    /// One export of everything that is lacking, in one chunk.
    #[expect(
        clippy::too_many_lines,
        reason = "an export from its claim to its end, in the order of its calls"
    )]
    pub(crate) async fn export(&mut self, bend: Bend) {
        let (db, destination) = (self.db.clone(), self.files.id());
        db.request_export(destination, Some(Trigger::Manual))
            .await
            .unwrap();
        let export = db.claim_export(destination, "w").await.unwrap().unwrap();
        let row = db.destination(&destination.to_string()).await.unwrap();
        let (number, plan_id) = (row.last_publication + 1, "plan".to_owned());
        let spans: Vec<_> = db
            .candidates(destination, model::ExportId::new(), 10)
            .await
            .unwrap();
        let spans: Vec<_> = spans
            .into_iter()
            .map(|candidate| PlannedSpan {
                candidate,
                chunk: 0,
            })
            .collect();
        let (step, token) = self
            .claim(RunKind::Export, export.to_string(), "plan")
            .await;
        let plan = NewPlan {
            plan_id: plan_id.clone(),
            number,
            epoch: row.epoch,
            chunk_count: 1,
            spans,
        };
        db.save_plan(export, &step, &token, &plan, &())
            .await
            .unwrap();

        let (step, token) = self
            .claim(RunKind::Export, export.to_string(), "chunk")
            .await;
        let mut writers: BTreeMap<(String, bool), PartWriter> = BTreeMap::new();
        let (mut counts, mut is_first) = (Vec::new(), true);
        for span in db.chunk_spans(export, &plan_id, 0).await.unwrap() {
            let batches = db
                .batches(span.connection_id, span.from_seq, span.to_seq)
                .await
                .unwrap();
            let batches: Vec<_> = batches
                .into_iter()
                .map(|row| BatchRef {
                    seq: row.seq,
                    key: row.object_key,
                })
                .collect();
            let reader = SpanReader::open(&self.store, &batches, span.from_seq, span.to_seq, None)
                .await
                .unwrap();
            let about = RowContext {
                source: &span.source_identity,
                patient_id: span.patient_id,
                connection_id: span.connection_id,
                export_id: export,
            };
            let (planned, skipped) = (reader.planned(), reader.skipped());
            let mut of = ExportCounts {
                planned,
                skipped,
                delivered: planned - skipped,
                failed: 0,
            };
            for (name, _) in reader.types() {
                let mut rows = reader.rows_of(name);
                while let Some(frame) = rows.next_frame().await.unwrap() {
                    for row in frame {
                        let times = match (
                            std::mem::take(&mut is_first),
                            bend.row_left_out,
                            bend.row_twice,
                        ) {
                            (true, true, _) => 0,
                            (true, _, true) => 2,
                            _ => 1,
                        };
                        of.delivered = of.delivered + times - 1;
                        of.planned = of.planned + times - 1;
                        let deleted = lists_deletions(self.format, row.meta.change);
                        let new = || PartWriter::new(self.format, name, deleted, 1 << 20).unwrap();
                        let writer = writers
                            .entry((name.to_owned(), deleted))
                            .or_insert_with(new);
                        for _ in 0..times {
                            writer.push(&about, &row.meta, &row.text).unwrap();
                        }
                    }
                }
            }
            counts.push((span.connection_id, of));
        }
        let mut parts = Vec::new();
        for (number, (_, writer)) in (0..).zip(writers) {
            let part = writer.finish().unwrap();
            let key = part.key(export, number);
            parts.push(part.describe(&key));
            self.files.put_part(&key, part.bytes).await.unwrap();
        }
        db.finish_chunk(&db::ChunkCommit {
            export,
            plan_id: &plan_id,
            chunk: 0,
            step: &step,
            token: &token,
            parts: &parts,
            spans: &counts,
            receipt: &(),
        })
        .await
        .unwrap();

        db.begin_publish(export, &plan_id).await.unwrap();
        let (step, token) = self
            .claim(RunKind::Export, export.to_string(), "publish")
            .await;
        let (mut parts, spans, counts) = db.plan_results(export, &plan_id).await.unwrap();
        if bend.part_again {
            parts.append(&mut self.last_parts.clone());
        }
        let mut publication = Publication {
            version: PUBLICATION_VERSION,
            destination_id: destination,
            number,
            export_id: export,
            plan_id,
            epoch: row.epoch,
            burnt: false,
            format: self.format,
            published_at: Timestamp::now().to_string(),
            parts: parts.clone(),
            spans,
            counts,
        };
        self.last_parts = parts;
        self.files.publish(&publication).await.unwrap();
        if bend.undecided {
            return;
        }
        if bend.watermark {
            publication.spans[0].to += 1;
        }
        let commit = PublicationCommit {
            publication: &publication,
            step: Some((&step, &token, &())),
        };
        db.commit_publication(&commit).await.unwrap();
        db.end_export(export, RunState::Completed, None, BackOff::default())
            .await
            .unwrap();
    }
}

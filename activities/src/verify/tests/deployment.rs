//! The deployment that is damaged: made in a folder, by the calls the steps make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use db::{
    BackOff, BatchRow, Db, HeldChange, NewBatch, NewConnection, NewDestination, NewPlan, NewSource,
    PlannedSpan, PublicationCommit, PullType, RunKind, SettleCommit, StepClaim, StepRef,
};
use destination::FileDestination;
use formats::{PartWriter, RowContext, lists_deletions};
use model::{
    BatchId, ConnectionId, DestinationId, ExportCounts, FileFormat, ObjectKey, PUBLICATION_VERSION,
    Publication, PullCounts, PullMode, RawResource, Reason, RunState, Timestamp, Trigger,
    TypeOutcome, content_hash, read_head,
};
use records::{BatchRef, Index, Numbers, Settle, SpanReader, StagingWriter, Store, settle};

use crate::verify::{Report, VerifyOptions, verify};

/// Bends what a run does before it is committed.
#[derive(Default, Clone, Copy)]
pub(crate) struct Bend {
    /// A pull counts one resource more than it fetched.
    pub(crate) pull_count: bool,
    /// A pull names no index but that of the batch before.
    pub(crate) old_index: bool,
    /// An export leaves out its first row and counts as if it had not.
    pub(crate) row_left_out: bool,
    /// An export writes its first row a second time and counts it.
    pub(crate) row_twice: bool,
    /// An export lists the parts of the publication before once more.
    pub(crate) part_again: bool,
    /// The database takes over a span that is one batch longer than published.
    pub(crate) watermark: bool,
    /// The publication is left for the next run to take over.
    pub(crate) undecided: bool,
}

pub(crate) struct Deployment {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) db: Db,
    pub(crate) store: Store,
    pub(crate) files: FileDestination,
    pub(crate) format: FileFormat,
    pub(crate) connections: Vec<ConnectionId>,
    pub(crate) last_parts: Vec<model::Part>,
}

impl Deployment {
    /// What opens its destination.
    pub(crate) fn destinations(&self) -> crate::Destinations {
        let guard = guard::Guard::new(guard::Allow::default());
        crate::Destinations::new(self.db.clone(), guard)
    }

    pub(crate) async fn new(format: FileFormat) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = seal::KeyRing::from_base64(&seal::KeyRing::generate()).unwrap();
        let db = Db::connect(
            &format!("sqlite://{}", folder.path().join("db").display()),
            keys,
        )
        .await
        .unwrap();
        db.migrate().await.unwrap();
        db.open_settle_block(0, 1000).await.unwrap();
        let store = Store::open_local(&folder.path().join("store")).unwrap();
        let location = folder.path().join("out").display().to_string();
        let files = FileDestination::open(&location, DestinationId::new()).unwrap();
        files.claim_owner().await.unwrap();
        let new = NewDestination {
            id: files.id(),
            name: "lake".into(),
            location,
            format,
            credentials: None,
            awaits_test: false,
        };
        db.add_destination(&new).await.unwrap();
        let base = "https://portal.example/fhir".to_owned();
        let source = NewSource::new("portal", &base, &base);
        let source_id = db.add_source(&source).await.unwrap();
        let mut connections = Vec::new();
        for name in ["ann", "bob"] {
            let patient_id = db.ensure_patient(name).await.unwrap();
            let new = NewConnection {
                patient_id,
                source_id,
                source_patient_id: name.into(),
                token: None,
            };
            connections.push(db.add_connection(&new).await.unwrap());
        }
        Self {
            folder,
            db,
            store,
            files,
            format,
            connections,
            last_parts: Vec::new(),
        }
    }

    /// Two connections that share a resource, two pulls each, and an export
    /// after each round: new, changed and deleted rows.
    pub(crate) async fn with_history(format: FileFormat) -> Self {
        let mut this = Self::new(format).await;
        for at in 0..2 {
            this.pull(
                at,
                &[
                    ("Patient", &format!("person-{at}"), 1),
                    ("Observation", "o", 1),
                    ("Practitioner", "x", 1),
                ],
                &[],
                Bend::default(),
            )
            .await;
        }
        this.export(Bend::default()).await;
        this.pull(
            0,
            &[("Patient", "person-0", 2), ("Observation", "new", 1)],
            &["o"],
            Bend::default(),
        )
        .await;
        this.pull(0, &[("Patient", "person-0", 3)], &[], Bend::default())
            .await;
        this.export(Bend::default()).await;
        this
    }

    pub(crate) async fn claim(
        &self,
        kind: RunKind,
        run_id: String,
        name: &str,
    ) -> (StepRef, String) {
        let step = StepRef {
            kind,
            run_id,
            name: name.into(),
        };
        let StepClaim::<()>::Mine { token, .. } = self.db.claim_step(&step).await.unwrap() else {
            panic!("done")
        };
        (step, token)
    }

    /// One pull of connection `at`: what it serves (type, id, content), and the
    /// observations that are gone.
    pub(crate) async fn pull(
        &self,
        at: usize,
        served: &[(&str, &str, u32)],
        gone: &[&str],
        bend: Bend,
    ) {
        let (db, connection) = (&self.db, self.connections[at]);
        db.request_pull(connection, Trigger::Manual).await.unwrap();
        let pull = db.claim_pull(connection, "w").await.unwrap().unwrap();
        let mut writer = StagingWriter::new(connection).unwrap();
        for (name, id, content) in served {
            let text = format!(
                r#"{{"resourceType":"{name}","id":"{id}","meta":{{"versionId":"{content}"}},"v":{content}}}"#
            );
            let head = read_head(text.as_bytes()).unwrap();
            let resource = RawResource {
                head,
                hash: content_hash(text.as_bytes()),
                text: text.into(),
            };
            writer.push(&resource, Timestamp::now()).unwrap();
        }
        let key = ObjectKey::Staging {
            connection,
            pull,
            step: "s".into(),
            token: "t".into(),
            number: 0,
        };
        let head = db.log_head(connection).await.unwrap();
        let index = match &head.index_key {
            Some(key) => Some(Index::load(&self.store, key).await.unwrap()),
            None => None,
        };
        for id in gone {
            let known = index.as_ref().unwrap().get("Observation", id).unwrap();
            writer
                .push_gone(&known, Reason::SourceDeleted, Timestamp::now())
                .unwrap();
        }
        let staged = writer.close(&self.store, &key).await.unwrap();
        let (step, token) = self.claim(RunKind::Pull, pull.to_string(), "settle").await;
        db.begin_settle(pull).await.unwrap();
        let (batch, settle_seq) = (BatchId::new(), db.next_settle_seq().await.unwrap().unwrap());
        let input = Settle {
            connection,
            staging: &[staged.key],
            index,
            log: None,
            numbers: Numbers {
                batch_seq: head.head_seq + 1,
                settle_seq,
            },
            batch,
        };
        let settled = settle(&self.store, input).await.unwrap();
        let mut counts = PullCounts::default();
        let mut types = BTreeMap::new();
        for (name, of) in &settled.counts_by_type {
            counts += *of;
            types.insert(name.clone(), whole(name, *of));
        }
        counts.fetched += u64::from(bend.pull_count);
        let object = settled.batch.unwrap();
        let commit = SettleCommit {
            connection_id: connection,
            pull_id: pull,
            step: &step,
            token: &token,
            log_version: head.log_version,
            settle_seq,
            batch: Some(NewBatch {
                id: batch,
                seq: head.head_seq + 1,
                object_key: object.key,
                index_key: if bend.old_index {
                    head.index_key.unwrap()
                } else {
                    object.index_key
                },
                row_count: object.row_count,
                deleted_count: object.deleted_count,
                size_bytes: object.size_bytes,
            }),
            types,
            counts,
            attachments: None,
            state: RunState::Completed,
            watermarks: BTreeMap::new(),
            held: HeldChange::Replace(None),
            error_code: None,
            receipt: &(),
        };
        db.commit_settle(&commit).await.unwrap();
    }

    pub(crate) async fn batches(&self, at: usize) -> Vec<BatchRow> {
        self.db
            .batches(self.connections[at], 0, u64::MAX >> 1)
            .await
            .unwrap()
    }

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

    pub(crate) async fn verify(&self) -> Report {
        verify(
            &self.db,
            &self.store,
            &self.destinations(),
            &VerifyOptions { bodies: true },
        )
        .await
        .unwrap()
    }

    /// Every finding's invariant and code.
    pub(crate) async fn found(&self) -> Vec<(&'static str, &'static str)> {
        let report = self.verify().await;
        for finding in &report.findings {
            assert!(!finding.what.is_empty() && !finding.action.is_empty());
        }
        // No word of a resource, no id of the source's.
        let text = format!("{:?}", report.findings);
        assert!(
            !text.contains("person-") && !text.contains("portal.example"),
            "{text}"
        );
        report
            .findings
            .iter()
            .map(|finding| (finding.invariant, finding.code))
            .collect()
    }

    pub(crate) fn stored(&self, object: &str) -> PathBuf {
        self.folder.path().join("store").join(object)
    }

    pub(crate) fn delivered(&self, object: &str) -> PathBuf {
        self.folder.path().join("out").join(object)
    }
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The coverage of a type that was had whole.
fn whole(resource_type: &str, counts: PullCounts) -> PullType {
    PullType {
        resource_type: resource_type.to_owned(),
        mode: Some(PullMode::Full),
        outcome: TypeOutcome::Complete,
        error_code: None,
        pages: 1,
        counts,
        notes: Vec::new(),
    }
}

//! A pull of the deployment, by the calls that the steps make.

use std::collections::BTreeMap;

use db::{BatchRow, HeldChange, NewBatch, PullType, RunKind, SettleCommit, StepClaim, StepRef};
use model::{
    BatchId, ObjectKey, PullCounts, PullMode, RawResource, Reason, RunState, Timestamp, Trigger,
    TypeOutcome, content_hash, read_head,
};
use records::{Index, Numbers, Settle, StagingWriter, settle};

use super::{Bend, Deployment};

impl Deployment {
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

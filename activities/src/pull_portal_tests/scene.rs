//! A deployment with one connection to a sandbox, and what it holds of the portal.

mod pulls;

pub(crate) use pulls::{Pulled, persist};

use std::collections::BTreeMap;

use db::{Db, NewConnection, NewSource, NewToken, SourceAuth, SourceChange};
use model::{ConnectionId, ConnectionStatus, content_hash, is_shared_type};
use records::{SegmentReader, Store};
use sandbox::{Answer, Body, Knobs, Portal, Sandbox, SandboxOptions};

use crate::{Context, testing};

/// The patient that is pulled.
pub(crate) const PATIENT: &str = "p";

pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    pub(crate) context: Context,
    pub(crate) connection: ConnectionId,
    patient: String,
    _folder: tempfile::TempDir,
}

/// A portal with the patient and these resources beside.
async fn portal_with(resources: &[String], options: SandboxOptions) -> Sandbox {
    let mut extra = vec![format!(r#"{{"resourceType":"Patient","id":"{PATIENT}"}}"#)];
    extra.extend_from_slice(resources);
    let options = SandboxOptions { extra, ..options };
    Sandbox::start(options).await.unwrap()
}

impl Scene {
    /// A portal with a patient and these resources beside.
    pub(crate) async fn new(resources: &[String]) -> Self {
        // Pages of ten.
        let options = SandboxOptions {
            page_size: 10,
            ..SandboxOptions::default()
        };
        Self::with(resources, options).await
    }

    pub(crate) async fn with(resources: &[String], options: SandboxOptions) -> Self {
        Self::with_token(resources, options, None).await
    }

    /// A portal as in [`Self::with`], that is asked with this token.
    pub(crate) async fn with_token(
        resources: &[String],
        options: SandboxOptions,
        token: Option<String>,
    ) -> Self {
        let sandbox = portal_with(resources, options).await;
        Self::of(sandbox, PATIENT.to_owned(), token, None).await
    }

    /// A portal with the usual pages, whose patient has granted these scopes.
    pub(crate) async fn with_scope(resources: &[String], scope: &str) -> Self {
        let sandbox = portal_with(resources, SandboxOptions::default()).await;
        Self::of(sandbox, PATIENT.to_owned(), None, Some(scope)).await
    }

    /// A connection to a patient of the sample, who has a record.
    pub(crate) async fn of_sample() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let mut patients = sandbox.patients().into_iter();
        let patient = patients.find(|patient| patient.has_history).unwrap();
        Self::of(sandbox, patient.id, None, None).await
    }

    async fn of(
        sandbox: Sandbox,
        patient: String,
        token: Option<String>,
        scope: Option<&str>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = seal::KeyRing::from_base64(&seal::KeyRing::generate()).unwrap();
        let file = format!("sqlite://{}", folder.path().join("db").display());
        let db = Db::connect(&file, keys).await.unwrap();
        db.migrate().await.unwrap();
        db.open_settle_block(0, 1000).await.unwrap();
        let store = Store::open_local(&folder.path().join("store")).unwrap();
        let base = sandbox.base_url().to_string();
        let source = NewSource {
            auth: scope.map_or(SourceAuth::None, |_| SourceAuth::Smart),
            ..NewSource::new("portal", &base, &base)
        };
        let new = NewConnection {
            patient_id: db.ensure_patient(PATIENT).await.unwrap(),
            source_id: db.add_source(&source).await.unwrap(),
            source_patient_id: patient.clone(),
            token,
        };
        let connection = match scope {
            None => db.add_connection(&new).await,
            Some(scope) => {
                let grant = NewToken {
                    access: Some("access".to_owned()),
                    scope: Some(scope.to_owned()),
                    ..NewToken::default()
                };
                db.add_connection_with_grant(&new, &grant).await
            }
        };
        let connection = connection.unwrap();
        Self {
            context: testing::context(&db, &store),
            sandbox,
            connection,
            patient,
            _folder: folder,
        }
    }

    pub(crate) fn portal(&self) -> &Portal {
        self.sandbox.portal()
    }

    pub(crate) fn knobs(&self, knobs: Knobs) {
        self.portal().set_knobs(knobs);
    }

    /// Limits how often the portal is asked a second.
    pub(crate) async fn limit(&self, per_second: u32) {
        let source = self.db().source("portal").await.unwrap().id;
        let change = SourceChange {
            requests_per_second: Some(Some(per_second)),
            ..SourceChange::default()
        };
        self.db().change_source(source, change).await.unwrap();
    }

    pub(crate) fn db(&self) -> &Db {
        &self.context.db
    }

    pub(crate) async fn status(&self) -> ConnectionStatus {
        let summary = self.db().connection_summary(self.connection).await;
        summary.unwrap().status
    }

    /// The connection's latest view: (type, id) to the content's hash.
    pub(crate) async fn latest(&self) -> BTreeMap<(String, String), String> {
        let mut latest = BTreeMap::new();
        let batches = self
            .db()
            .batches(self.connection, 0, 1 << 40)
            .await
            .unwrap();
        for batch in batches {
            let reader = SegmentReader::open(&self.context.store, &batch.object_key)
                .await
                .unwrap();
            for row in reader.footer().rows() {
                let key = (row.resource_type.to_owned(), row.id.to_owned());
                if row.is_tombstone() {
                    latest.remove(&key);
                } else {
                    latest.insert(key, row.content_hash.to_string());
                }
            }
        }
        latest
    }

    /// Fails unless the latest view is what the oracle says, and of types that several
    /// patients share, what was referred to once: that it no longer is proves nothing.
    pub(crate) async fn assert_whole(&self) {
        let extra = self.beyond_whole().await;
        assert!(extra.is_empty(), "not expected: {extra:?}");
    }

    /// As [`Self::assert_whole`], but for what is there beyond: returns that.
    pub(crate) async fn beyond_whole(&self) -> Vec<(String, String)> {
        let expected: BTreeMap<_, _> = self
            .portal()
            .expected(&self.patient)
            .into_iter()
            .map(|(key, text)| (key, content_hash(&text).to_string()))
            .collect();
        let latest = self.latest().await;
        let missing: Vec<_> = expected
            .iter()
            .filter(|(key, hash)| latest.get(key) != Some(hash))
            .map(|(key, _)| key)
            .collect();
        assert!(missing.is_empty(), "missing or another: {missing:?}");
        latest
            .into_keys()
            .filter(|key| !expected.contains_key(key) && !is_shared_type(&key.0))
            .collect()
    }
}

/// An answer that is given for ever.
pub(crate) fn answer(status: u16, body: Body) -> Answer {
    Answer {
        status,
        body,
        text: "This is refused.".to_owned(),
        headers: BTreeMap::new(),
        times: None,
    }
}

/// An observation of the patient's.
pub(crate) fn observation(id: &str, rest: &str) -> String {
    resource("Observation", id, rest)
}

/// A resource of the patient's that says when it changed.
pub(crate) fn stamped(resource_type: &str, id: &str, at: &str, rest: &str) -> String {
    let rest = format!(r#","meta":{{"lastUpdated":"{at}"}}{rest}"#);
    resource(resource_type, id, &rest)
}

/// A resource of the patient's.
pub(crate) fn resource(resource_type: &str, id: &str, rest: &str) -> String {
    format!(
        r#"{{"resourceType":"{resource_type}","id":"{id}","subject":{{"reference":"Patient/{PATIENT}"}}{rest}}}"#
    )
}

//! The deployment that is damaged: made in a folder, by the calls the steps make.

mod exports;
mod pulls;

use std::path::{Path, PathBuf};

use db::{Db, NewConnection, NewDestination, NewSource};
use destination::FileDestination;
use model::{ConnectionId, DestinationId, FileFormat};
use records::Store;

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

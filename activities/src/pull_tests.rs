//! Pull steps against the sandbox: what a source's failures lead to, and what is
//! none of its failures.

use std::collections::BTreeMap;

use db::{Db, NewConnection, NewSource, RunKind, StepClaim, StepRef};
use model::{PullId, Trigger, TypeOutcome};
use records::Store;
use sandbox::{Knobs, Sandbox, SandboxOptions};
use steps::{PlanPull, PullStep, PullStepReceipt, TypeProgress};

use crate::failure::Failure;
use crate::pull_stream::FAILURES_MAX;
use crate::{Context, pull_pages, pull_plan, pull_references, testing};

/// A patient of the sandbox whose pull has begun.
struct Scene {
    context: Context,
    sandbox: Sandbox,
    pages: PullStep,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let keys = seal::KeyRing::from_base64(&seal::KeyRing::generate()).unwrap();
        let url = format!("sqlite://{}", folder.path().join("db").display());
        let db = Db::connect(&url, keys).await.unwrap();
        db.migrate().await.unwrap();
        let store = Store::open_local(&folder.path().join("store")).unwrap();
        let (pull_id, connection_id) = begin(&db, &sandbox).await;
        let context = testing::context(&db, &store);
        let plan = PlanPull {
            pull_id,
            connection_id,
            step_count: 1,
        };
        let plan = pull_plan::run(&context, &plan).await.unwrap();
        let pages = PullStep {
            pull_id,
            connection_id,
            step: plan.steps[0].name.clone(),
            pages_max: 1000,
        };
        Self {
            context,
            sandbox,
            pages,
            _folder: folder,
        }
    }

    fn references(&self) -> PullStep {
        PullStep {
            step: "references".to_owned(),
            ..self.pages.clone()
        }
    }

    fn set_status(&self, name: &str, status: Option<u16>) {
        let of = |is_read: bool| -> BTreeMap<String, u16> {
            let named = status.filter(|_| name.contains('/') == is_read);
            named
                .map(|status| (name.to_owned(), status))
                .into_iter()
                .collect()
        };
        self.sandbox.portal().set_knobs(Knobs {
            status_for_type: of(false),
            status_for_read: of(true),
            ..Knobs::default()
        });
    }

    /// Attempts that something else than the source cuts off.
    async fn cut_off(&self, step: &PullStep, times: u32) {
        let step = StepRef {
            kind: RunKind::Pull,
            run_id: step.pull_id.to_string(),
            name: step.step.clone(),
        };
        for _ in 0..times {
            let claim = self.context.db.claim_step::<PullStepReceipt>(&step).await;
            assert!(matches!(claim.unwrap(), StepClaim::Mine { .. }));
        }
    }
}

/// Adds a connection to the sandbox's first patient with a record, and claims a
/// pull of it.
async fn begin(db: &Db, sandbox: &Sandbox) -> (PullId, model::ConnectionId) {
    let base = sandbox.base_url().to_string();
    let source = NewSource::new("sandbox", &base, &base);
    let patients = sandbox.portal().patients();
    let patient = patients.into_iter().find(|of| of.has_history).unwrap();
    let connection = NewConnection {
        source_id: db.add_source(&source).await.unwrap(),
        patient_id: db.ensure_patient("ann").await.unwrap(),
        source_patient_id: patient.id,
        token: None,
    };
    let connection = db.add_connection(&connection).await.unwrap();
    let asked = db.request_pull(connection, Trigger::Manual).await.unwrap();
    let claimed = db.claim_pull(connection, "chain").await.unwrap();
    assert_eq!(claimed, Some(asked));
    (asked, connection)
}

fn line<'a>(receipt: &'a PullStepReceipt, name: &str) -> &'a TypeProgress {
    let mut lines = receipt.types.iter();
    lines.find(|line| line.resource_type == name).unwrap()
}

fn fails_with(result: Result<PullStepReceipt, Failure>, expected: &str) {
    let Err(Failure::Retry { code, .. }) = result else {
        panic!("worth another attempt: {result:?}");
    };
    assert_eq!(code, expected);
}

#[tokio::test]
async fn an_error_after_attempts_cut_off_by_others_gives_no_type_up() {
    let scene = Scene::new().await;
    scene.cut_off(&scene.pages, 2 * FAILURES_MAX).await;
    scene.set_status("Observation", Some(502));
    let failed = pull_pages::run(&scene.context, &scene.pages).await;
    fails_with(failed, "source_unavailable");
    scene.set_status("Observation", None);
    let receipt = pull_pages::run(&scene.context, &scene.pages).await.unwrap();
    let complete = receipt
        .types
        .iter()
        .filter(|line| line.outcome == Some(TypeOutcome::Complete));
    assert_eq!(complete.count(), receipt.types.len(), "{receipt:?}");
}

#[tokio::test]
async fn a_type_that_fails_again_and_again_is_given_up_alone() {
    let scene = Scene::new().await;
    scene.set_status("Observation", Some(502));
    for _ in 1..FAILURES_MAX {
        let failed = pull_pages::run(&scene.context, &scene.pages).await;
        fails_with(failed, "source_unavailable");
    }
    let receipt = pull_pages::run(&scene.context, &scene.pages).await.unwrap();
    for of in &receipt.types {
        let (outcome, code) = match of.resource_type.as_str() {
            "Observation" => (TypeOutcome::GaveUp, Some("source_unavailable")),
            _ => (TypeOutcome::Complete, None),
        };
        assert_eq!(
            (of.outcome, of.error_code.as_deref()),
            (Some(outcome), code),
            "{of:?}"
        );
    }
}

#[tokio::test]
async fn a_reference_is_given_up_after_as_many_failures_of_the_source() {
    let scene = Scene::new().await;
    pull_pages::run(&scene.context, &scene.pages).await.unwrap();
    let references = scene.references();
    scene.cut_off(&references, 2 * FAILURES_MAX).await;
    scene.set_status("Practitioner", Some(502));
    for _ in 1..FAILURES_MAX {
        let failed = pull_references::run(&scene.context, &references, 4).await;
        fails_with(failed, "source_unavailable");
    }
    let receipt = pull_references::run(&scene.context, &references, 4)
        .await
        .unwrap();
    let given_up = line(&receipt, "Practitioner");
    assert_eq!(given_up.outcome, Some(TypeOutcome::GaveUp));
    assert_eq!(
        line(&receipt, "Organization").outcome,
        Some(TypeOutcome::Complete)
    );
}

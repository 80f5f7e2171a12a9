//! The activity of `Probe`: a test or a rehearsal of a destination, for somebody who
//! waits. It may be repeated: the first end of a probe stays.

#![expect(missing_docs, reason = "the macros write public items of their own")]

use std::sync::Arc;

use model::{ProbeKind, ProbeReport, RunState};
use steps::probe as signatures;
use steps::{ProbeInput, ProbeReceipt};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::attempt::attempt;
use crate::failure::Failure;
use crate::{Context, probe_rehearsal, probe_test};

/// The activities of probes.
#[derive(Debug)]
pub struct ProbeActivities {
    context: Arc<Context>,
}

impl ProbeActivities {
    /// Activities over a context.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[activities]
impl ProbeActivities {
    /// Tests or rehearses a destination.
    #[activity(definition = signatures::Run)]
    pub async fn run(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ProbeInput,
    ) -> Result<ProbeReceipt, ActivityError> {
        let context = Arc::clone(&self.context);
        attempt(
            &self.context,
            &ctx,
            async move { run(&context, &input).await },
        )
        .await
    }
}

async fn run(context: &Context, input: &ProbeInput) -> Result<ProbeReceipt, Failure> {
    // First: one that is gone with its destination is lost, not looked for again.
    let probe = context.db.begin_probe(input.probe_id).await?;
    let destination = context
        .db
        .destination(&probe.destination_id.to_string())
        .await?;
    let found = match probe.kind {
        ProbeKind::Test => Ok(probe_test::run(&context.destinations, &destination).await),
        ProbeKind::Rehearsal => probe_rehearsal::run(&context.db, &context.store, &destination)
            .await
            .map(|figures| ProbeReport {
                rehearsal: Some(figures),
                ..ProbeReport::default()
            }),
    };
    let (report, error_code) = match found {
        Ok(report) => {
            let code = report.error_code().map(str::to_owned);
            (report, code)
        }
        Err(Failure::Final { code, .. }) => (ProbeReport::default(), Some(code.to_owned())),
        Err(failure) => return Err(failure),
    };
    context
        .db
        .end_probe(probe.id, &report, error_code.as_deref())
        .await?;
    Ok(ProbeReceipt {
        outcome: if error_code.is_some() {
            RunState::Failed
        } else {
            RunState::Completed
        },
        error_code,
    })
}

//! The steps of a scene's pulls, called as the workflow would, and what they brought.

use std::collections::BTreeMap;
use std::time::Duration;

use db::{Pull, PullType};
use model::Trigger;
use steps::{PlanPull, PullStep, PullStepReceipt, SettlePull};

use super::Scene;
use crate::failure::Failure;
use crate::pull_references::READS_IN_FLIGHT;
use crate::{pull, pull_pages, pull_plan, pull_references, pull_settle};

/// Attempts at a step before a test gives up.
const ATTEMPTS_MAX: u32 = 60;

/// What a pull brought.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) pull: Pull,
    pub(crate) types: BTreeMap<String, PullType>,
    /// What was asked of the portal: path and query below its base.
    pub(crate) asked: Vec<String>,
}

impl Scene {
    /// Plans, fetches, follows references and settles, each step as often as it
    /// wants.
    pub(crate) async fn pull(&self) -> Pulled {
        match self.try_pull().await {
            Ok(pulled) => pulled,
            Err(failure) => panic!("the pull failed: {failure}"),
        }
    }

    /// As [`Self::pull`], for everything.
    pub(crate) async fn full_pull(&self) -> Pulled {
        let asked = self
            .db()
            .request_full_pull(self.connection, Trigger::Manual);
        asked.await.unwrap();
        self.pull().await
    }

    /// As [`Self::pull`]; a final failure ends it.
    pub(crate) async fn try_pull(&self) -> Result<Pulled, Failure> {
        let from = self.portal().log().len();
        // One that is queued already is joined.
        let asked = self.db().request_pull(self.connection, Trigger::Manual);
        asked.await.unwrap();
        let claimed = self.db().claim_pull(self.connection, "chain").await;
        let pull_id = claimed.unwrap().unwrap();
        let plan = PlanPull {
            pull_id,
            connection_id: self.connection,
            step_count: 1,
        };
        let planned = loop {
            let planned = persist(async || pull_plan::run(&self.context, &plan).await).await?;
            if planned.wait_ms == 0 {
                break planned;
            }
            wait(planned.wait_ms).await;
        };
        let step = |name: &str| PullStep {
            pull_id,
            connection_id: self.connection,
            step: name.to_owned(),
            pages_max: 1_000,
        };
        for title in &planned.steps {
            let call = step(&title.name);
            while is_left(persist(async || pull_pages::run(&self.context, &call).await).await?)
                .await
            {}
        }
        let call = step("references");
        let requests = READS_IN_FLIGHT;
        while is_left(
            persist(async || pull_references::run(&self.context, &call, requests).await).await?,
        )
        .await
        {}
        if planned.attachments {
            let call = step(steps::ATTACHMENTS_STEP);
            while self.fetch_attachments(&call).await? {}
        }
        let settle = SettlePull {
            pull_id,
            connection_id: self.connection,
        };
        persist(async || pull_settle::run(&self.context, &settle).await).await?;
        let types = self.db().pull_types(pull_id).await.unwrap();
        let types = types.into_iter().map(|of| (of.resource_type.clone(), of));
        let log = self.portal().log().split_off(from);
        Ok(Pulled {
            pull: self.db().pull(pull_id).await.unwrap(),
            types: types.collect(),
            asked: log
                .into_iter()
                .map(|entry| entry.path.trim_start_matches("/fhir/").to_owned())
                .collect(),
        })
    }

    /// Calls the step that fetches attachments; whether it is to be called again.
    async fn fetch_attachments(&self, call: &PullStep) -> Result<bool, Failure> {
        let receipt = persist(async || pull::attachments(&self.context, call).await).await?;
        wait(receipt.wait_ms).await;
        Ok(receipt.more)
    }
}

impl Pulled {
    /// Outcome and code of a type.
    pub(crate) fn end(&self, resource_type: &str) -> (&'static str, Option<&str>) {
        let of = &self.types[resource_type];
        (of.outcome.as_str(), of.error_code.as_deref())
    }

    /// What was asked for of a type.
    pub(crate) fn mode(&self, resource_type: &str) -> Option<&'static str> {
        self.types[resource_type].mode.map(model::PullMode::as_str)
    }

    /// The codes of what is said of a type, with the counts.
    pub(crate) fn notes(&self, resource_type: &str) -> Vec<(&str, u64)> {
        let notes = &self.types[resource_type].notes;
        notes
            .iter()
            .map(|note| (note.code.as_str(), note.count))
            .collect()
    }

    /// How many requests began so.
    pub(crate) fn asked(&self, beginning: &str) -> usize {
        self.asked
            .iter()
            .filter(|path| path.starts_with(beginning))
            .count()
    }
}

/// Waits as long as a step wants to; whether it is to be called again.
async fn is_left(receipt: PullStepReceipt) -> bool {
    wait(receipt.wait_ms).await;
    receipt.more
}

async fn wait(wait_ms: u64) {
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// Tries a step again as Temporal would, without its pauses.
pub(crate) async fn persist<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        match attempt().await {
            Err(Failure::Retry { .. }) => {}
            end => return end,
        }
    }
    panic!("a step was tried {ATTEMPTS_MAX} times in vain")
}

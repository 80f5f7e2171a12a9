//! `pull.plan`: the source's capabilities become streams, grouped into a handful
//! of steps whose rows hold the streams' progress from the start.

use std::collections::BTreeMap;

use db::StepClaim;
use model::AttachmentPolicy;
use source::{Capabilities, StreamPlan, Wanted};
use steps::{PlanPull, PullPlan, StepTitle};

use crate::failure::Failure;
use crate::pull_modes::Modes;
use crate::pull_progress::{StepProgress, Stream, decode, encode};
use crate::source_verdicts::{Asked, SourceVerdict, on_source};
use crate::step::of_pull;
use crate::{Context, pull_strategy};

/// Attempts at the capabilities before the whole compartment is asked for
/// instead: a source that does not answer `metadata` may still answer searches.
const CAPABILITY_ATTEMPTS_MAX: u64 = 3;

/// Types named in a step's title at most.
const TITLE_TYPES_MAX: usize = 6;

pub(crate) async fn run(context: &Context, input: &PlanPull) -> Result<PullPlan, Failure> {
    let step = of_pull(input.pull_id, "plan");
    let (token, idle_attempts) = match context.db.claim_step(&step).await? {
        StepClaim::Done(plan) => return Ok(plan),
        StepClaim::Mine {
            token,
            idle_attempts,
            ..
        } => (token, idle_attempts),
    };
    let connection = context.db.connection(input.connection_id).await?;
    let client = context.client(&connection)?;
    let capabilities = match client.capabilities().await {
        Ok(capabilities) => capabilities,
        Err(source::Error::NotYet { after, .. }) => {
            return Ok(put_off(
                u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            ));
        }
        Err(error) => match on_source(Asked::Metadata, &error) {
            SourceVerdict::Wait(after) if idle_attempts < CAPABILITY_ATTEMPTS_MAX => {
                return Err(Failure::Retry {
                    code: "source_throttled",
                    what: error.to_string(),
                    after: Some(after),
                });
            }
            SourceVerdict::NotAsked(code) => return Err(Failure::retry(code, error)),
            SourceVerdict::Retry(code, _) if idle_attempts < CAPABILITY_ATTEMPTS_MAX => {
                return Err(Failure::retry(code, error));
            }
            SourceVerdict::Fail(code) => return Err(Failure::last(code, error)),
            _ => Capabilities::default(),
        },
    };
    let scopes = context.db.granted_scope(input.connection_id).await?;
    let wanted = Wanted {
        scopes: scopes.as_deref(),
        types: connection.types.as_deref(),
    };
    let plan = client.plan(&capabilities, wanted);
    let learned = context
        .db
        .source_plans(connection.summary.source_id)
        .await?;
    let beginning = pull_strategy::beginning(connection.strategy, &plan, &learned);
    let modes = Modes::of(context, &connection, input.pull_id).await?;
    let groups = group(plan, input.step_count.max(1) as usize);
    let mut plan = PullPlan {
        steps: Vec::new(),
        types: 0,
        not_granted: client.not_granted(&capabilities, wanted),
        wait_ms: 0,
        attachments: connection.attachments == AttachmentPolicy::Fetch,
    };
    let mut planned = Vec::new();
    let after = beginning.step.as_ref().map(|(title, _)| title.name.clone());
    if let Some((title, progress)) = beginning.step {
        planned.push((title.name.clone(), progress));
        plan.steps.push(title);
    }
    for (number, streams) in groups.into_iter().enumerate() {
        let name = format!("pages-{number}");
        plan.types += streams.len() as u64;
        plan.steps.push(StepTitle {
            name: name.clone(),
            title: title(&streams),
        });
        let mut streams: Vec<Stream> = streams
            .into_iter()
            .map(|plan| modes.choose(stream(plan, &learned)))
            .collect();
        if let Some(first) = streams.first_mut().filter(|_| number == 0) {
            first.strategy_refused = beginning.is_refused;
        }
        let progress = StepProgress {
            streams,
            staging_count: 0,
            after: after.clone(),
        };
        planned.push((name, encode(&progress)));
    }
    context
        .db
        .save_pull_plan(&step, &token, &planned, &plan)
        .await?;
    Ok(plan)
}

/// No plan yet: to be asked for again.
pub(crate) fn put_off(wait_ms: u64) -> PullPlan {
    PullPlan {
        steps: Vec::new(),
        types: 0,
        not_granted: Vec::new(),
        wait_ms: wait_ms.max(1),
        attachments: false,
    }
}

/// A stream that asks as an earlier pull of the source learned, if one did; values
/// that the grant names come before.
fn stream(plan: StreamPlan, learned: &BTreeMap<String, Vec<u8>>) -> Stream {
    let known = learned.get(&plan.resource_type);
    let known = known.and_then(|known| decode::<StreamPlan>(known).ok());
    match known {
        Some(known) if known.access == plan.access && plan.fan_out.is_none() => {
            Stream::remembered(known)
        }
        _ => Stream::new(plan),
    }
}

/// Deals the streams out to `count` steps, in turn: big types, which stand apart
/// in the alphabet, rarely meet in one step. The Patient stays first.
fn group(streams: Vec<StreamPlan>, count: usize) -> Vec<Vec<StreamPlan>> {
    let mut groups: Vec<Vec<StreamPlan>> = vec![Vec::new(); count.min(streams.len())];
    for (number, stream) in streams.into_iter().enumerate() {
        groups[number % count].push(stream);
    }
    groups
}

fn title(streams: &[StreamPlan]) -> String {
    let names: Vec<&str> = streams
        .iter()
        .take(TITLE_TYPES_MAX)
        .map(|stream| stream.resource_type.as_str())
        .collect();
    match streams.len().saturating_sub(TITLE_TYPES_MAX) {
        0 => format!("fetch {}", names.join(", ")),
        more => format!("fetch {} and {more} more types", names.join(", ")),
    }
}

//! `pull.pages`: fetch the streams of a step (`pull_stream.rs`) into staging. The
//! cursor is saved only after the staging object before it is durable, and the
//! save names that object: a retry goes on at the last saved cursor.

use std::time::Instant;

use db::{Connection, NewStaging, StepRef};
use model::ObjectKey;
use records::StagingWriter;
use source::SourceClient;
use steps::{PullStep, PullStepReceipt};

use crate::failure::Failure;
use crate::pull_progress::{StepProgress, Stream, decode, encode};
use crate::pull_strategy::had_before;
use crate::pull_stream::Stop;
use crate::step::{Claimed, of_pull, once};
use crate::{Context, failpoint, pull_export};

/// A step at work.
pub(crate) struct Fetch<'a> {
    pub(crate) context: &'a Context,
    pub(crate) input: &'a PullStep,
    pub(crate) step: StepRef,
    pub(crate) token: String,
    pub(crate) staging: StagingWriter,
    started: Instant,
    pub(crate) pages: u64,
    /// Requests at once.
    pub(crate) requests: usize,
}

pub(crate) async fn run(context: &Context, input: &PullStep) -> Result<PullStepReceipt, Failure> {
    let step = of_pull(input.pull_id, &input.step);
    once(context, step, |claimed| fetch(context, input, claimed)).await
}

async fn fetch(
    context: &Context,
    input: &PullStep,
    claimed: Claimed,
) -> Result<PullStepReceipt, Failure> {
    if input.step == steps::EXPORT_STEP {
        return pull_export::run(context, input, claimed).await;
    }
    let mut progress: StepProgress = decode(&claimed.progress.unwrap_or_default())?;
    if let Some(before) = &progress.after {
        let had = had_before(context, &claimed.step.run_id, before).await?;
        let streams = &mut progress.streams;
        streams.retain(|stream| !had.contains(&stream.plan.resource_type));
    }
    let (mut fetch, connection, client) =
        Fetch::open(context, input, claimed.step, claimed.token).await?;
    let mut wait = None;
    for at in 0..progress.streams.len() {
        if progress.streams[at].is_done() {
            continue;
        }
        match fetch
            .stream(&client, &connection, &mut progress, at)
            .await?
        {
            Stop::Ended => {}
            Stop::Budget => break,
            Stop::Wait(duration) => {
                wait = Some(duration);
                break;
            }
        }
    }
    let receipt = PullStepReceipt {
        types: progress.streams.iter().flat_map(Stream::lines).collect(),
        pages: fetch.pages,
        more: progress.streams.iter().any(|stream| !stream.is_done()),
        wait_ms: wait.map_or(0, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        }),
        held: None,
    };
    fetch
        .save(&mut progress, (!receipt.more).then_some(&receipt))
        .await?;
    Ok(receipt)
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(
        context: &'a Context,
        input: &'a PullStep,
        step: StepRef,
        token: String,
    ) -> Result<Self, Failure> {
        let staging = new_staging(context, input)?;
        Ok(Self {
            context,
            input,
            step,
            token,
            staging,
            started: Instant::now(),
            pages: 0,
            requests: 1,
        })
    }

    /// Begins a step, with the connection that it is for and a client that asks its source.
    pub(crate) async fn open(
        context: &'a Context,
        input: &'a PullStep,
        step: StepRef,
        token: String,
    ) -> Result<(Self, Connection, SourceClient), Failure> {
        let connection = context.db.connection(input.connection_id).await?;
        let client = context.client(&connection)?;
        Ok((Self::new(context, input, step, token)?, connection, client))
    }

    /// Whether the step should save and return.
    pub(crate) fn is_spent(&self) -> bool {
        self.context.is_draining()
            || self.pages >= self.input.pages_max.max(1)
            || self.started.elapsed() >= self.context.limits.step_duration_max
    }

    /// Makes what was staged durable, then saves the cursors that follow it.
    pub(crate) async fn save(
        &mut self,
        progress: &mut StepProgress,
        receipt: Option<&PullStepReceipt>,
    ) -> Result<(), Failure> {
        let objects = self.close_staging(&mut progress.staging_count).await?;
        self.save_encoded(&encode(progress), &objects, receipt)
            .await
    }

    /// Closes the staging object, if anything was staged.
    pub(crate) async fn close_staging(
        &mut self,
        count: &mut u64,
    ) -> Result<Vec<NewStaging>, Failure> {
        if self.staging.is_empty() {
            return Ok(Vec::new());
        }
        let staging = std::mem::replace(&mut self.staging, new_staging(self.context, self.input)?);
        let key = ObjectKey::Staging {
            connection: self.input.connection_id,
            pull: self.input.pull_id,
            step: self.input.step.clone(),
            token: self.token.clone(),
            number: u32::try_from(*count)
                .map_err(|_| Failure::last("internal", "too many staging objects"))?,
        };
        failpoint::pass("staging_write.before").await?;
        let object = staging.close(&self.context.store, &key).await?;
        failpoint::pass("staging_write.after").await?;
        let named = NewStaging {
            ordinal: *count,
            object_key: object.key,
            row_count: object.row_count,
            size_bytes: object.size_bytes,
        };
        *count += 1;
        Ok(vec![named])
    }

    pub(crate) async fn save_encoded(
        &self,
        progress: &[u8],
        objects: &[NewStaging],
        receipt: Option<&PullStepReceipt>,
    ) -> Result<(), Failure> {
        failpoint::pass("cursor_save.before").await?;
        self.context
            .db
            .save_pull_step(&self.step, &self.token, progress, objects, receipt)
            .await?;
        failpoint::pass("cursor_save.after").await
    }
}

fn new_staging(context: &Context, input: &PullStep) -> Result<StagingWriter, Failure> {
    let bytes = context.limits.staging_size_target_bytes;
    Ok(StagingWriter::with_limits(
        input.connection_id,
        bytes,
        records::STAGING_AGE_MAX,
    )?)
}

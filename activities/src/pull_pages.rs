//! `pull.pages`: fetch the streams of a step, page by page, into staging. The
//! cursor is saved only after the staging object before it is durable, and the
//! save names that object: a retry goes on at the last saved cursor.

use std::time::{Duration, Instant};

use db::{Connection, NewStaging, RunKind, StepClaim, StepRef};
use model::{ObjectKey, Timestamp, TypeOutcome};
use records::StagingWriter;
use source::{SourceClient, cursor_hash};
use steps::{PullStep, PullStepReceipt};

use crate::failure::{Failure, SourceVerdict, on_source};
use crate::pull_progress::{StepProgress, Stream, decode, encode};
use crate::{Context, failpoint};

/// Pages of one stream at most: a portal that never ends must not keep a pull.
const STREAM_PAGES_MAX: u64 = 10_000;
/// New starts of a stream whose cursor expired.
const RESTARTS_MAX: u32 = 3;
/// Requests to wait in a row before a stream is given up.
pub(crate) const WAITS_MAX: u32 = 60;
/// Failures of the source in a row before a stream is given up.
pub(crate) const FAILURES_MAX: u32 = 6;
/// A wait up to this long is spent in the step; a longer one on a timer.
pub(crate) const WAIT_HERE_MAX: Duration = Duration::from_secs(5);

/// A step at work.
pub(crate) struct Fetch<'a> {
    pub(crate) context: &'a Context,
    pub(crate) input: &'a PullStep,
    pub(crate) step: StepRef,
    pub(crate) token: String,
    pub(crate) staging: StagingWriter,
    started: Instant,
    pub(crate) pages: u64,
}

/// Why a stream stopped for now.
enum Stop {
    /// It ended; the next one follows.
    Ended,
    /// The step has used up its pages or its time.
    Budget,
    /// The source wants to be left alone.
    Wait(Duration),
}

pub(crate) async fn run(context: &Context, input: &PullStep) -> Result<PullStepReceipt, Failure> {
    let step = StepRef {
        kind: RunKind::Pull,
        run_id: input.pull_id.to_string(),
        name: input.step.clone(),
    };
    let (token, idle_attempts, progress) = match context.db.claim_step(&step).await? {
        StepClaim::Done(receipt) => return Ok(receipt),
        StepClaim::Mine {
            token,
            idle_attempts,
            progress,
        } => (token, idle_attempts, progress.unwrap_or_default()),
    };
    fetch(context, input, step, token, &progress)
        .await
        .map_err(|failure| failure.within(idle_attempts))
}

async fn fetch(
    context: &Context,
    input: &PullStep,
    step: StepRef,
    token: String,
    progress: &[u8],
) -> Result<PullStepReceipt, Failure> {
    let mut progress: StepProgress = decode(progress)?;
    let connection = context.db.connection(input.connection_id).await?;
    let client = context.client(&connection)?;
    let mut fetch = Fetch::new(context, input, step, token)?;
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
        types: progress.streams.iter().map(Stream::progress).collect(),
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
        })
    }

    /// Whether the step should save and return.
    pub(crate) fn is_spent(&self) -> bool {
        self.context.is_draining()
            || self.pages >= self.input.pages_max.max(1)
            || self.started.elapsed() >= self.context.limits.step_duration_max
    }

    /// Fetches one stream until it ends or the step must return.
    async fn stream(
        &mut self,
        client: &SourceClient,
        connection: &Connection,
        progress: &mut StepProgress,
        at: usize,
    ) -> Result<Stop, Failure> {
        while !progress.streams[at].is_done() {
            if self.is_spent() {
                return Ok(Stop::Budget);
            }
            let stream = &mut progress.streams[at];
            let url = match &stream.cursor {
                Some(cursor) => cursor.clone(),
                None => client.first_page_url(&stream.plan, &connection.source_patient_id),
            };
            match client.page(&url).await {
                Ok(page) => {
                    (stream.waits, stream.failures) = (0, 0);
                    self.take(stream, &url, page)?;
                    if self.staging.ready() {
                        self.save(progress, None).await?;
                    }
                }
                Err(error) => match on_source(&error) {
                    SourceVerdict::Unauthorized if stream.plan.resource_type == "Patient" => {
                        // Not even the patient: the grant itself is not honoured.
                        let id = connection.summary.id;
                        self.context
                            .db
                            .set_needs_reconnect(id, "unauthorized")
                            .await?;
                        return Err(Failure::last("unauthorized", error));
                    }
                    SourceVerdict::Unauthorized => {
                        stream.end(TypeOutcome::Refused, Some("unauthorized"))
                    }
                    SourceVerdict::EndStream(outcome, code) => stream.end(outcome, Some(code)),
                    SourceVerdict::Fail(code) => return Err(Failure::last(code, error)),
                    SourceVerdict::Restart if stream.restarts < RESTARTS_MAX => stream.restart(),
                    SourceVerdict::Restart => {
                        stream.end(TypeOutcome::GaveUp, Some("cursor_expired"))
                    }
                    SourceVerdict::Wait(_) if stream.waits >= WAITS_MAX => {
                        stream.end(TypeOutcome::GaveUp, Some("throttled"));
                    }
                    SourceVerdict::Wait(duration) => {
                        stream.waits += 1;
                        if duration > WAIT_HERE_MAX {
                            return Ok(Stop::Wait(duration));
                        }
                        tokio::time::sleep(duration).await;
                    }
                    SourceVerdict::NotAsked(code) => return Err(Failure::retry(code, error)),
                    SourceVerdict::Retry(code) => {
                        stream.failures += 1;
                        if stream.failures >= FAILURES_MAX {
                            stream.end(TypeOutcome::GaveUp, Some(code));
                            continue;
                        }
                        // The count is saved with the pages read before: attempts that
                        // something else cuts off are not the source's failures.
                        self.save(progress, None).await?;
                        return Err(Failure::retry(code, error));
                    }
                },
            }
        }
        Ok(Stop::Ended)
    }

    /// Stages a page and moves the stream on.
    fn take(&mut self, stream: &mut Stream, url: &str, page: source::Page) -> Result<(), Failure> {
        self.pages += 1;
        let now = Timestamp::now();
        for resource in &page.resources {
            self.staging.push(resource, now)?;
        }
        let line = &mut stream.line;
        line.pages += 1;
        line.ignored += page.ignored;
        line.rejected += page.rejected;
        line.fetched += page.resources.len() as u64 + page.ignored + page.rejected;
        stream.suppressed |= page.suppressed;
        stream.visited.insert(cursor_hash(url));
        match page.next {
            None if stream.suppressed => stream.end(TypeOutcome::Suppressed, Some("suppressed")),
            None => stream.end(TypeOutcome::Complete, None),
            Some(next) if stream.visited.contains(&cursor_hash(&next)) => {
                stream.end(TypeOutcome::Truncated, Some("cursor_loop"));
            }
            Some(_) if stream.line.pages >= STREAM_PAGES_MAX => {
                stream.end(TypeOutcome::Truncated, Some("too_many_pages"))
            }
            Some(next) => stream.cursor = Some(next),
        }
        Ok(())
    }

    /// Makes what was staged durable, then saves the cursors that follow it.
    async fn save(
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

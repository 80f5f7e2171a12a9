//! One stream of a pull step: page after page of a type's searches, and what to do
//! about everything else that its source answers.

use std::time::Duration;

use db::Connection;
use model::{Strategy, Timestamp, TypeOutcome};
use source::{SourceClient, cursor_hash};

use crate::failure::Failure;
use crate::pull_pages::Fetch;
use crate::pull_progress::{StepProgress, Stream, encode};
use crate::pull_queries::Lesson;
use crate::pull_strategy::remember_refusal;
use crate::source_verdicts::{OUTAGE_TRIES, SourceVerdict, TIMEOUTS_MAX, on_source};

/// Pages of one stream at most: a portal that never ends must not keep a pull.
const STREAM_PAGES_MAX: u64 = 10_000;
/// Requests to wait in a row before a stream is given up.
pub(crate) const WAITS_MAX: u32 = 60;
/// Those after a stream that was given up so: a source that lets nothing through is not
/// asked as often again for each type.
const WAITS_AFTER: u32 = 5;
/// Failures of the source in a row before a stream is given up.
pub(crate) const FAILURES_MAX: u32 = OUTAGE_TRIES;
/// How long a plan that a pull learned is used by the next ones: what a source
/// refuses today it may answer after its next update.
pub(crate) const PLAN_TIME_TO_LIVE: Duration = Duration::from_secs(30 * 86_400);
/// A wait up to this long is spent in the step; a longer one on a timer.
pub(crate) const WAIT_HERE_MAX: Duration = Duration::from_secs(3);

/// Why a stream stopped for now.
pub(crate) enum Stop {
    /// It ended; the next one follows.
    Ended,
    /// The step has used up its pages or its time.
    Budget,
    /// The source wants to be left alone.
    Wait(Duration),
}

impl Fetch<'_> {
    /// Fetches one stream until it ends or the step must return.
    pub(crate) async fn stream(
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
            match ask(client, stream, &connection.source_patient_id).await {
                Ok(page) => {
                    (stream.waits, stream.failures, stream.timeouts) = (0, 0, 0);
                    if stream.refuses_updates(&page) {
                        // Nothing of it is kept: it answers another question.
                        stream.line.pages += 1;
                        self.pages += 1;
                        continue;
                    }
                    let url = url_of(client, stream, &connection.source_patient_id);
                    let page = stream.sift(page, connection)?;
                    self.take(stream, &url, page)?;
                    if self.staging.ready() {
                        self.save(progress, None).await?;
                    }
                }
                Err(error) => match on_source(stream.asked(), &error) {
                    SourceVerdict::Reconnect(code) => {
                        return Err(self.reconnect(client, connection, code, error).await?);
                    }
                    SourceVerdict::AskOtherwise(code) => {
                        if let Some((status, said)) = refusal(&error)
                            // It may be `_lastUpdated` that is refused; 404 may pass.
                            && !stream.ask_for_all(status != 404)
                        {
                            stream.updates.is_unfiltered = false;
                            stream.refuse(status, said, code);
                        }
                    }
                    SourceVerdict::Fail(code) => return Err(Failure::last(code, error)),
                    SourceVerdict::NotAsked(code) => return Err(Failure::retry(code, error)),
                    SourceVerdict::Later(duration) => return Ok(Stop::Wait(duration)),
                    SourceVerdict::Wait(_) if stream.waits >= WAITS_MAX => {
                        stream.stop(TypeOutcome::GaveUp, "throttled");
                        if let Some(next) = progress.streams.get_mut(at + 1) {
                            next.waits = WAITS_MAX - WAITS_AFTER;
                        }
                    }
                    SourceVerdict::Wait(duration) => {
                        stream.waits += 1;
                        if duration > WAIT_HERE_MAX {
                            return Ok(Stop::Wait(duration));
                        }
                        tokio::time::sleep(duration).await;
                    }
                    // An old cursor may be answered in any way.
                    _ if stream.is_suspect(Timestamp::now()) => stream.expire(),
                    SourceVerdict::Restart => stream.expire(),
                    SourceVerdict::End(outcome, code) => stream.stop(outcome, code),
                    SourceVerdict::Shrink(code) => {
                        if !stream.shrink(self.context.limits.page_count) {
                            stream.stop(TypeOutcome::GaveUp, code);
                        }
                    }
                    SourceVerdict::Retry(code, tries) => {
                        stream.failures += 1;
                        stream.timeouts += u32::from(is_timeout(&error));
                        if stream.timeouts >= TIMEOUTS_MAX
                            && stream.shrink(self.context.limits.page_count)
                        {
                            continue;
                        }
                        if stream.failures >= tries {
                            if is_failed(&error) && stream.ask_for_all(true) {
                                continue;
                            }
                            stream.stop(TypeOutcome::GaveUp, code);
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
        let stream = &progress.streams[at];
        if stream.refuses_everything() {
            let (context, way) = (self.context, Strategy::Everything);
            remember_refusal(context, client, connection, way, PLAN_TIME_TO_LIVE).await?;
        }
        self.learn(connection, stream).await?;
        Ok(Stop::Ended)
    }

    /// The grant is not honoured any more; of a patient that is not to be seen this is
    /// believed only while the source answers otherwise.
    async fn reconnect(
        &self,
        client: &SourceClient,
        connection: &Connection,
        code: &'static str,
        error: source::Error,
    ) -> Result<Failure, Failure> {
        if matches!(error, source::Error::Refused { .. })
            && let Err(down) = client.capabilities().await
        {
            return Ok(Failure::retry("source_unavailable", down));
        }
        self.context
            .db
            .set_needs_reconnect(connection.summary.id, code)
            .await?;
        Ok(Failure::last(code, error))
    }

    /// Notes how the source wants to be asked, for the next pulls.
    async fn learn(&self, connection: &Connection, stream: &Stream) -> Result<(), Failure> {
        let (db, source) = (&self.context.db, connection.summary.source_id);
        let resource_type = &stream.plan.resource_type;
        if stream.is_found_unfiltered() {
            db.remember_unfiltered(source, resource_type, PLAN_TIME_TO_LIVE)
                .await?;
        }
        match stream.lesson() {
            _ if stream.sieve.is_some() => {}
            Lesson::Nothing => {}
            Lesson::Forget => db.forget_source_plan(source, resource_type).await?,
            Lesson::Remember(plan) => {
                let encoded = encode(plan);
                db.remember_source_plan(source, resource_type, &encoded, PLAN_TIME_TO_LIVE)
                    .await?;
            }
        }
        Ok(())
    }

    /// Stages a page and moves the stream on.
    fn take(&mut self, stream: &mut Stream, url: &str, page: source::Page) -> Result<(), Failure> {
        self.pages += 1;
        let now = Timestamp::now();
        stream.note_changes(&page);
        for resource in &page.resources {
            self.staging.push(resource, now)?;
            stream.line.look_at(resource);
        }
        let line = &mut stream.line;
        line.pages += 1;
        line.ignored += page.ignored;
        line.rejected += page.rejected;
        for (reason, count) in &page.reasons {
            *line.reasons.entry(reason.code().to_owned()).or_default() += count;
        }
        line.fetched += page.resources.len() as u64 + page.ignored + page.rejected;
        stream.suppressed |= page.suppressed;
        stream.visited.insert(cursor_hash(url));
        let is_empty = page.resources.is_empty() && page.rejected == 0;
        match page.next {
            // A server may answer for a search it has forgotten.
            None if is_empty && stream.is_suspect(now) => stream.expire(),
            None => stream.answer(),
            Some(next) if stream.visited.contains(&cursor_hash(&next)) => {
                stream.stop(TypeOutcome::Truncated, "cursor_loop");
            }
            Some(_) if stream.line.pages >= STREAM_PAGES_MAX => {
                stream.end(TypeOutcome::Truncated, Some("too_many_pages"));
            }
            Some(next) => stream.advance(next, now),
        }
        Ok(())
    }
}

/// A refusal that says what is wanted instead.
fn refusal(error: &source::Error) -> Option<(u16, &source::Said)> {
    match error {
        source::Error::Refused { status, said, .. }
        | source::Error::Failed { status, said, .. } => Some((*status, said)),
        _ => None,
    }
}

/// Whether the server itself says that it failed: as some do at a parameter that they
/// do not know.
fn is_failed(error: &source::Error) -> bool {
    matches!(error, source::Error::Failed { .. })
}

fn is_timeout(error: &source::Error) -> bool {
    matches!(error, source::Error::Unavailable { timeout: true, .. })
}

/// Asks for the next page of a stream.
async fn ask(
    client: &SourceClient,
    stream: &Stream,
    patient_id: &str,
) -> Result<source::Page, source::Error> {
    match &stream.cursor {
        Some(cursor) => client.page(cursor).await,
        None => {
            client
                .first_page(&stream.plan, patient_id, stream.first_page())
                .await
        }
    }
}

/// The URL of the page that a stream asks for.
fn url_of(client: &SourceClient, stream: &Stream, patient_id: &str) -> String {
    match &stream.cursor {
        Some(cursor) => cursor.clone(),
        None => client.first_page_url(&stream.plan, patient_id, stream.first_page()),
    }
}

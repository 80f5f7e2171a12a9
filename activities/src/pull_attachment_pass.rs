//! One call's asking for attachments: as many as the source and the time allow, and what
//! is done about each answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db::OpenAttachment;
use futures::StreamExt;
use model::AttachmentState;
use tokio::sync::Semaphore;

use crate::failpoint;
use crate::failure::Failure;
use crate::pull_attachment_fetch::{Ask, Outcome, Shared, Told};
use crate::pull_attachments::Work;
use crate::pull_stream::{FAILURES_MAX, WAITS_MAX};

/// A call begins no further attachment after so long: the one at work may take ten
/// minutes, and an attempt has fifteen.
const BEGIN_MAX: Duration = Duration::from_secs(4 * 60);
/// Attempts at one that the source fails at while it answers others.
const TRIES_MAX: u32 = 3;
/// Failures in a row after which a call leaves the source alone for a while.
const FAILURES_IN_CALL: u32 = 4;

/// How the asking of a call ended.
#[derive(Default)]
pub(crate) struct Asked {
    /// Those that the source failed at, and why: worth another attempt.
    pub(crate) failed: Vec<(Ask, &'static str)>,
    /// Those that were not asked for.
    pub(crate) left: Vec<Ask>,
    pub(crate) wait: Option<Duration>,
    pub(crate) given_up: Option<&'static str>,
    /// Whether the source answered at all.
    pub(crate) answered: bool,
    pub(crate) broken: Option<Failure>,
}

impl Work<'_> {
    /// Asks for attachments, as far as the source and the time allow.
    pub(crate) async fn ask(&mut self, asks: Vec<Ask>, requests: usize) -> Result<Asked, Failure> {
        let context = self.context;
        let connection = context.db.connection(self.input.connection_id).await?;
        let shared = Shared {
            context,
            client: context.client(&connection)?,
            connection: self.input.connection_id,
            room: Semaphore::new(1),
        };
        let (started, begun, halt) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
        let begin_max = BEGIN_MAX.min(context.limits.step_duration_max);
        let requests_max = self.input.pages_max.max(1);
        let may_begin = || {
            !halt.load(Ordering::Relaxed)
                && !context.is_draining()
                && started.elapsed() < begin_max
                && begun.fetch_add(1, Ordering::Relaxed) < requests_max
        };
        let mut asked = Asked::default();
        let mut results = futures::stream::iter(asks)
            .map(|ask| async {
                match may_begin() {
                    true => (shared.fetch(&ask).await, ask),
                    false => (Outcome::NotBegun, ask),
                }
            })
            .buffer_unordered(requests);
        while let Some((outcome, ask)) = results.next().await {
            let goes_on = self.take(&mut asked, outcome, ask).await?;
            halt.fetch_or(!goes_on, Ordering::Relaxed);
        }
        Ok(asked)
    }

    /// Takes what came of one; whether further ones are to be begun.
    async fn take(
        &mut self,
        asked: &mut Asked,
        outcome: Outcome,
        ask: Ask,
    ) -> Result<bool, Failure> {
        let row = match outcome {
            Outcome::NotBegun => {
                asked.left.push(ask);
                return Ok(true);
            }
            Outcome::Broken(failure) => {
                asked.broken.get_or_insert(failure);
                return Ok(false);
            }
            Outcome::Hopeless(code) => {
                asked.given_up = Some(code);
                asked.left.push(ask);
                return Ok(false);
            }
            Outcome::Later(after, is_held) => {
                self.progress.waits += u32::from(is_held);
                if self.progress.waits >= WAITS_MAX {
                    asked.given_up = Some("throttled");
                }
                asked.wait = Some(asked.wait.map_or(after, |wait| wait.max(after)));
                asked.left.push(ask);
                return Ok(false);
            }
            Outcome::Failed(code) => return self.failed(asked, ask, code).await,
            Outcome::Stored(object, told, note) => {
                let size_bytes = object.size_bytes;
                let mut row = self.row(&ask, AttachmentState::Fetched, note, told);
                row.of.object = Some(object);
                self.progress.counts.count_fetched(size_bytes);
                row
            }
            Outcome::Same(told, note) => {
                let known = ask.known.as_ref();
                let note = note.map(str::to_owned);
                let (note, told) = match known.filter(|_| told == Told::default()) {
                    // The source says that it is what it was.
                    Some(known) => {
                        let was_fetched = known.of.state == AttachmentState::Fetched;
                        let code = known.of.code.clone().filter(|_| was_fetched);
                        (code, kept(known))
                    }
                    None => (note, told),
                };
                let row = self.row(&ask, AttachmentState::Fetched, note.as_deref(), told);
                self.progress.counts.count(AttachmentState::Fetched);
                row
            }
            Outcome::Ended(state, code, told) => {
                self.progress.counts.count(state);
                self.row(&ask, state, Some(code), told)
            }
        };
        asked.answered = true;
        (self.progress.failures, self.progress.waits) = (0, 0);
        self.requests += 1;
        self.save(&[row], None).await?;
        failpoint::pass("attachment_save.after").await?;
        Ok(true)
    }

    /// The source failed at one: it is asked for again, in a later call or by a later
    /// pull. Where nothing is answered the source itself is down.
    async fn failed(
        &mut self,
        asked: &mut Asked,
        ask: Ask,
        code: &'static str,
    ) -> Result<bool, Failure> {
        self.requests += 1;
        self.progress.failures += 1;
        let tries = self.progress.tries.entry(ask.url.clone()).or_default();
        *tries += 1;
        let tries_max = if asked.answered {
            TRIES_MAX
        } else {
            FAILURES_MAX
        };
        if *tries >= tries_max {
            self.give_up(vec![(ask, code)]).await?;
        } else {
            asked.failed.push((ask, code));
        }
        if self.progress.failures >= FAILURES_IN_CALL * FAILURES_MAX {
            asked.given_up = Some(code);
        }
        Ok(!self.progress.failures.is_multiple_of(FAILURES_IN_CALL))
    }
}

/// What was told of an attachment before.
fn kept(known: &OpenAttachment) -> Told {
    Told {
        content_type: known.of.content_type.clone(),
        size_bytes: known.of.told_size_bytes,
        etag: known.etag.clone(),
    }
}

//! The step that fetches a bulk export of the patient: asks for it, asks how far it is
//! until it is done, reads its files (`pull_export_files.rs`), and tells the source
//! that it is over. Between two looks at its status the step returns, so that the
//! workflow waits on a timer and nothing is held.
//!
//! Invariant: the status URL is saved before anything else is asked, and any attempt
//! that finds one goes on by it.

use std::time::Duration;

use db::Connection;
use model::{ConnectionId, PullId, Strategy, Timestamp};
use source::{ExportStatus, SourceClient};
use steps::{PullStep, PullStepReceipt};
use url::Url;

use crate::Context;
use crate::context::parse_base;
use crate::failure::Failure;
use crate::pull_export_progress::{ExportEnd, ExportProgress};
use crate::pull_pages::Fetch;
use crate::pull_progress::{decode, encode};
use crate::pull_strategy::remember_refusal;
use crate::pull_stream::{PLAN_TIME_TO_LIVE, WAITS_MAX};
use crate::source_verdicts::{Asked, SourceVerdict, on_source};
use crate::step::{Claimed, of_pull};

/// Between two looks at the status: at least, and at most whatever the source says.
const POLL_MIN: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_secs(15 * 60);
/// Where the source does not say: doubling from [`POLL_MIN`] up to this.
const POLL_UNTOLD_MAX: Duration = Duration::from_secs(60);
/// An export that takes longer is given up, and the record searched for.
const EXPORT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Exports asked for in one pull, where the source forgets them.
const BEGUN_MAX: u32 = 3;
/// For telling the source that an export is over, which nothing rests on.
const END_MAX: Duration = Duration::from_secs(10);

/// An export at work.
pub(crate) struct Export<'a> {
    pub(crate) fetch: Fetch<'a>,
    pub(crate) client: SourceClient,
    pub(crate) connection: Connection,
    pub(crate) base: Url,
    pub(crate) progress: ExportProgress,
}

/// What follows.
pub(crate) enum Next {
    Go,
    Wait(Duration),
}

pub(crate) async fn run(
    context: &Context,
    input: &PullStep,
    claimed: Claimed,
) -> Result<PullStepReceipt, Failure> {
    let (fetch, connection, client) =
        Fetch::open(context, input, claimed.step, claimed.token).await?;
    let mut export = Export {
        fetch,
        client,
        base: parse_base(&connection.base_url)?,
        progress: decode(&claimed.progress.unwrap_or_default())?,
        connection,
    };
    let mut wait = Duration::ZERO;
    while export.progress.end.is_none() && wait.is_zero() && !export.fetch.is_spent() {
        if let Next::Wait(duration) = export.advance().await? {
            wait = duration;
        }
    }
    let is_over = export.progress.end.is_some();
    if is_over {
        // Its files are durable before the source may remove them.
        export.save().await?;
        export.wind_up().await?;
    }
    let receipt = PullStepReceipt {
        types: export.progress.lines(),
        pages: export.fetch.pages,
        more: !is_over,
        wait_ms: if is_over {
            0
        } else {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        },
        held: None,
    };
    if is_over {
        // Where its files lay is of no use any more.
        export.progress.manifest = None;
    }
    export.save_with(is_over.then_some(&receipt)).await?;
    Ok(receipt)
}

impl Export<'_> {
    async fn advance(&mut self) -> Result<Next, Failure> {
        if self.progress.holds_others() {
            return Ok(self.end(ExportEnd::Refused));
        }
        let Some(status_url) = self.progress.status_url.clone() else {
            return self.begin().await;
        };
        if self.progress.manifest.is_none() || self.progress.is_manifest_old {
            return self.poll(&status_url).await;
        }
        match self.progress.next_file() {
            Some(at) => self.read(at).await,
            None => Ok(self.end(ExportEnd::Read)),
        }
    }

    /// Asks for an export.
    async fn begin(&mut self) -> Result<Next, Failure> {
        if self.progress.begun_count >= BEGUN_MAX {
            return Ok(self.end(ExportEnd::Failed));
        }
        let begun = self.client.begin_export(&self.connection.source_patient_id);
        match begun.await {
            Ok(status_url) => {
                let progress = &mut self.progress;
                progress.status_url = Some(status_url);
                progress.begun_at = Some(Timestamp::now());
                progress.begun_count += 1;
                (progress.waits, progress.failures) = (0, 0);
                self.save().await?;
                Ok(Next::Wait(POLL_MIN))
            }
            Err(error) => self.not_begun(error).await,
        }
    }

    async fn not_begun(&mut self, error: source::Error) -> Result<Next, Failure> {
        match on_source(Asked::Export, &error) {
            // One whose status lies at another server cannot be waited for, ever.
            SourceVerdict::End(_, "refused" | "foreign_link") => Ok(self.end(ExportEnd::Refused)),
            verdict => self.after(verdict, error).await,
        }
    }

    /// Asks how far it is.
    async fn poll(&mut self, status_url: &str) -> Result<Next, Failure> {
        match self.client.export_status(status_url).await {
            Ok(ExportStatus::Done(manifest)) => {
                self.progress.take_manifest(manifest);
                (self.progress.waits, self.progress.failures) = (0, 0);
                self.save().await?;
                Ok(Next::Go)
            }
            Ok(ExportStatus::Working { retry_after }) => self.look_again(retry_after).await,
            // The look failed, not the export.
            Err(error) if will_pass(&error) => self.look_again(None).await,
            Err(error) => {
                let verdict = on_source(Asked::Export, &error);
                self.after(verdict, error).await
            }
        }
    }

    async fn look_again(&mut self, retry_after: Option<Duration>) -> Result<Next, Failure> {
        let progress = &mut self.progress;
        let age = progress.begun_at.map(|begun| Timestamp::now().since(begun));
        if age.is_some_and(|age| age > EXPORT_AGE_MAX) {
            return Ok(self.end(ExportEnd::Failed));
        }
        let wait = poll_wait(retry_after, progress.polls);
        progress.polls = progress.polls.saturating_add(1);
        (progress.waits, progress.failures) = (0, 0);
        self.save().await?;
        Ok(Next::Wait(wait))
    }

    /// What follows an answer that is none.
    pub(crate) async fn after(
        &mut self,
        verdict: SourceVerdict,
        error: source::Error,
    ) -> Result<Next, Failure> {
        use SourceVerdict as V;
        match verdict {
            V::Fail(code) => Err(Failure::last(code, error)),
            V::NotAsked(code) => Err(Failure::retry(code, error)),
            V::Later(duration) => Ok(Next::Wait(duration.max(POLL_MIN))),
            V::Wait(duration) if self.progress.waits < WAITS_MAX => {
                self.progress.waits += 1;
                Ok(Next::Wait(duration.max(POLL_MIN)))
            }
            V::Restart => {
                self.progress.forget();
                Ok(Next::Go)
            }
            V::Retry(code, tries) if self.progress.failures + 1 < tries => {
                self.progress.failures += 1;
                self.save().await?;
                Err(Failure::retry(code, error))
            }
            V::Wait(_)
            | V::Retry(..)
            | V::End(..)
            | V::Reconnect(_)
            | V::AskOtherwise(_)
            | V::Shrink(_) => Ok(self.end(ExportEnd::Failed)),
        }
    }

    fn end(&mut self, end: ExportEnd) -> Next {
        self.progress.end = Some(end);
        Next::Go
    }

    /// Once it is over: notes a refusal, and tells the source. Both may be done again.
    async fn wind_up(&mut self) -> Result<(), Failure> {
        if self.progress.end == Some(ExportEnd::Refused) {
            let (context, of) = (self.fetch.context, &self.connection);
            let time = PLAN_TIME_TO_LIVE;
            remember_refusal(context, &self.client, of, Strategy::Bulk, time).await?;
        }
        if let Some(status_url) = self.progress.status_url.take() {
            end_at_source(&self.client, &status_url).await;
        }
        Ok(())
    }

    /// Makes what was staged durable, then saves how far the export is.
    pub(crate) async fn save(&mut self) -> Result<(), Failure> {
        self.save_with(None).await
    }

    async fn save_with(&mut self, receipt: Option<&PullStepReceipt>) -> Result<(), Failure> {
        let count = &mut self.progress.staging_count;
        let objects = self.fetch.close_staging(count).await?;
        let encoded = encode(&self.progress);
        self.fetch.save_encoded(&encoded, &objects, receipt).await
    }
}

/// How long to wait before the status is asked for again.
fn poll_wait(retry_after: Option<Duration>, polls: u32) -> Duration {
    match retry_after {
        Some(told) => told.clamp(POLL_MIN, POLL_MAX),
        None => (POLL_MIN * 2_u32.saturating_pow(polls.min(10))).min(POLL_UNTOLD_MAX),
    }
}

fn will_pass(error: &source::Error) -> bool {
    match error {
        source::Error::Refused { said, .. } | source::Error::Failed { said, .. } => said.transient,
        _ => false,
    }
}

async fn end_at_source(client: &SourceClient, status_url: &str) {
    let ended = tokio::time::timeout(END_MAX, client.end_export(status_url)).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::debug!("the source was not told that an export is over: it ends by itself");
    }
}

/// Tells the source that the export of a pull that will not settle is not needed, if
/// there is one. Nothing rests on that.
pub(crate) async fn abandon(context: &Context, connection: ConnectionId, pull: PullId) {
    let step = of_pull(pull, steps::EXPORT_STEP);
    let found = async {
        let progress = context.db.step_progress(&step).await?;
        let progress = progress.map(|saved| decode::<ExportProgress>(&saved));
        let status_url = progress.transpose()?.and_then(|of| of.status_url);
        let Some(status_url) = status_url else {
            return Ok(None);
        };
        let connection = context.db.connection(connection).await?;
        Ok::<_, Failure>(Some((context.client(&connection)?, status_url)))
    };
    match found.await {
        Ok(Some((client, status_url))) => end_at_source(&client, &status_url).await,
        Ok(None) => {}
        Err(failure) => tracing::warn!(pull.id = %pull, "an export was left to itself: {failure}"),
    }
}

#[cfg(test)]
mod tests;

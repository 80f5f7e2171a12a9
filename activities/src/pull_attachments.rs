//! `pull.attachments`: fetch the documents that the resources of a pull name by a URL,
//! and those that failed before.
//!
//! Each is decided by itself and saved as soon as it is: its row and the step's progress
//! in one transaction, after its bytes are durable. What goes wrong with one, or with
//! all of them, ends no pull. A pull that is cancelled keeps what was saved: the next one
//! finds it, and asks only whether it has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use db::{Attachment, OpenAttachment, StepRef};
use model::{AttachmentCounts, AttachmentState, Timestamp};
use serde::{Deserialize, Serialize};
use steps::{AttachmentReceipt, PullStep};

use crate::Context;
use crate::failure::Failure;
use crate::pull_attachment_fetch::{Ask, Told};
use crate::pull_attachment_pass::Asked;
use crate::pull_attachment_plan::Found;
use crate::pull_progress::{decode, encode};
use crate::step::{of_pull, once};

/// Rows written in one transaction.
const ROWS_MAX: usize = 200;
/// Codes of a step that got no token: its attachments fail, and the pull goes on.
pub(crate) const NO_TOKEN: [&str; 4] = [
    "needs_reconnect",
    "login_refused",
    "token_unavailable",
    guard::ADDRESS_REFUSED,
];

/// The saved progress of the step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// Of those whose rows this pull has written.
    pub(crate) counts: AttachmentCounts,
    /// How often the source failed at one, by its URL.
    pub(crate) tries: BTreeMap<String, u32>,
    /// How often in a row the source failed.
    pub(crate) failures: u32,
    /// How often in a row it wanted to be left alone.
    pub(crate) waits: u32,
}

/// Fetches with so many requests at once; with none, nothing is to be asked for. Where
/// `given_up` says why, none is and all fail.
pub(crate) async fn run(
    context: &Context,
    input: &PullStep,
    found: &Found,
    requests: usize,
    given_up: Option<&'static str>,
) -> Result<AttachmentReceipt, Failure> {
    let step = of_pull(input.pull_id, &input.step);
    once(context, step, |claimed| async move {
        let progress = claimed.progress.as_deref().map(decode).transpose()?;
        let mut work = Work {
            context,
            input,
            found,
            step: claimed.step,
            token: claimed.token,
            progress: progress.unwrap_or_default(),
            requests: 0,
        };
        work.all(requests, given_up).await
    })
    .await
}

/// To be called again after a wait.
pub(crate) fn put_off(wait_ms: u64) -> AttachmentReceipt {
    AttachmentReceipt {
        counts: AttachmentCounts::default(),
        requests: 0,
        more: true,
        wait_ms,
    }
}

/// A step at work.
pub(crate) struct Work<'a> {
    pub(crate) context: &'a Context,
    pub(crate) input: &'a PullStep,
    found: &'a Found,
    step: StepRef,
    token: String,
    pub(crate) progress: Progress,
    pub(crate) requests: u64,
}

impl Work<'_> {
    async fn all(
        &mut self,
        requests: usize,
        given_up: Option<&'static str>,
    ) -> Result<AttachmentReceipt, Failure> {
        let known = self.context.db.open_attachments(self.input.connection_id);
        let plan = self.found.plan(self.context, known.await?);
        let decided = plan.decided.iter();
        let rows: Vec<OpenAttachment> = decided
            .map(|(ask, state, code)| self.row(ask, *state, Some(code), Told::default()))
            .collect();
        self.save_all(rows).await?;
        let mut asked = match (given_up, requests) {
            (Some(code), _) => Asked {
                left: plan.asks,
                given_up: Some(code),
                ..Asked::default()
            },
            (None, 0) => Asked::default(),
            (None, _) => self.ask(plan.asks, requests).await?,
        };
        if let Some(failure) = asked.broken.take() {
            return Err(failure);
        }
        let failed = std::mem::take(&mut asked.failed);
        if let Some(code) = asked.given_up {
            let left = asked.left.into_iter().map(|ask| (ask, code));
            self.give_up(failed.into_iter().chain(left).collect())
                .await?;
            return self.receipt(plan.stay, None, false).await;
        }
        if asked.wait.is_some() {
            return self.receipt(plan.stay, asked.wait, true).await;
        }
        match failed.first() {
            None => self.receipt(plan.stay, None, !asked.left.is_empty()).await,
            Some((_, code)) => {
                // Temporal waits longer each time.
                self.save(&[], None).await?;
                Err(Failure::retry(code, "the source failed at an attachment"))
            }
        }
    }

    /// Notes that these failed: later pulls ask for them again.
    pub(crate) async fn give_up(&mut self, asks: Vec<(Ask, &'static str)>) -> Result<(), Failure> {
        let rows = asks.iter().map(|(ask, code)| {
            let mut row = self.row(ask, AttachmentState::Failed, Some(code), Told::default());
            let before = ask.known.as_ref().map_or(0, |known| known.of.attempts);
            row.of.attempts = before + 1;
            let wait = self.context.limits.back_off.after(row.of.attempts);
            row.of.not_before = Some(Timestamp::now().after(wait));
            row
        });
        let rows = rows.collect();
        self.save_all(rows).await
    }

    /// Counts rows by their states and saves them.
    async fn save_all(&mut self, rows: Vec<OpenAttachment>) -> Result<(), Failure> {
        for rows in rows.chunks(ROWS_MAX) {
            for row in rows {
                self.progress.counts.count(row.of.state);
            }
            self.save(rows, None).await?;
        }
        Ok(())
    }

    /// The row of an attachment that was asked for, or decided on; its bytes are those
    /// that are had.
    pub(crate) fn row(
        &self,
        ask: &Ask,
        state: AttachmentState,
        code: Option<&str>,
        told: Told,
    ) -> OpenAttachment {
        let (now, known) = (Timestamp::now(), ask.known.as_ref());
        let again = self.context.limits.full_pull_after;
        // What is refused may be granted, and what is not found may come, some day.
        let may_change = state == AttachmentState::Refused || code == Some("not_found");
        let resource_type = ask.named.as_ref().map(|named| &named.resource_type);
        let resource_type = resource_type.or(known.map(|known| &known.of.resource_type));
        let is_fetched = state == AttachmentState::Fetched;
        OpenAttachment {
            of: Attachment {
                id: ask.id,
                connection_id: self.input.connection_id,
                resource_type: resource_type.cloned().unwrap_or_default(),
                state,
                code: code.map(str::to_owned),
                attempts: 0,
                not_before: may_change.then(|| now.after(again)),
                declared: ask.declared(),
                content_type: told.content_type,
                told_size_bytes: told.size_bytes,
                object: known.and_then(|known| known.of.object.clone()),
                pull_id: self.input.pull_id,
                created_at: known.map_or(now, |known| known.of.created_at),
                updated_at: now,
            },
            url: ask.url.clone(),
            etag: match is_fetched {
                true => told.etag,
                // Of the bytes that are had.
                false => known.and_then(|known| known.etag.clone()),
            },
        }
    }

    async fn receipt(
        &self,
        stay: AttachmentCounts,
        wait: Option<Duration>,
        more: bool,
    ) -> Result<AttachmentReceipt, Failure> {
        let mut counts = self.progress.counts;
        counts += stay;
        let wait_ms = wait.map_or(0, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        });
        let receipt = AttachmentReceipt {
            counts,
            requests: self.requests,
            more,
            wait_ms,
        };
        self.save(&[], (!more).then_some(&receipt)).await?;
        Ok(receipt)
    }

    pub(crate) async fn save(
        &self,
        rows: &[OpenAttachment],
        receipt: Option<&AttachmentReceipt>,
    ) -> Result<(), Failure> {
        let progress = encode(&self.progress);
        let save =
            self.context
                .db
                .save_attachments(&self.step, &self.token, &progress, rows, receipt);
        Ok(save.await?)
    }
}

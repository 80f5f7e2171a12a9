//! One attachment: asked for, judged by its size and its media type before and while
//! its bytes come in, and written to the record store.

use std::time::Duration;

use db::{AttachmentObject, OpenAttachment};
use model::{AttachmentId, AttachmentState, ConnectionId, Timestamp};
use records::Store;
use source::{AttachmentAnswer, AttachmentBody, AttachmentRequest, SourceClient};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Context;
use crate::failure::Failure;
use crate::pull_attachment_bytes::{Hashes, Pieces};
use crate::pull_attachment_rules::is_allowed;
use crate::pull_attachments_named::Named;
use crate::source_verdicts::{Asked, SourceVerdict, on_source};

/// For one attachment, from asking to its last byte.
const TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Between two attempts at the same attachment, times the attempts made.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// An attachment that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) url: String,
    pub(crate) named: Option<Named>,
    pub(crate) known: Option<OpenAttachment>,
    /// Its id; a new one where it is not known.
    pub(crate) id: AttachmentId,
}

/// What all attachments of a step share.
pub(crate) struct Shared<'a> {
    pub(crate) context: &'a Context,
    pub(crate) client: SourceClient,
    pub(crate) connection: ConnectionId,
    pub(crate) room: Semaphore,
}

/// What the source said of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) content_type: Option<String>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) etag: Option<String>,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its bytes are in the store.
    Stored(AttachmentObject, Told, Option<&'static str>),
    /// They are those that are had already.
    Same(Told, Option<&'static str>),
    /// It is not to be had.
    Ended(AttachmentState, &'static str, Told),
    /// The source failed at it.
    Failed(&'static str),
    /// The source is to be left alone so long; whether it said so itself.
    Later(Duration, bool),
    /// Nothing of this source is to be had.
    Hopeless(&'static str),
    /// The worker is asked to end, or the step has worked long enough.
    NotBegun,
    /// A fault of ours.
    Broken(Failure),
}

impl Shared<'_> {
    /// Asks for an attachment, and writes it.
    pub(crate) async fn fetch(&self, ask: &Ask) -> Outcome {
        let had = match self.had(ask).await {
            Ok(had) => had,
            Err(failure) => return Outcome::Broken(failure),
        };
        let deadline = Instant::now() + TIME_MAX;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.ask(ask, had).await {
                Ok(AttachmentAnswer::Body(body)) => {
                    match self.take(ask, had, *body, deadline).await {
                        Ok(outcome) => return outcome,
                        Err(error) => error,
                    }
                }
                Ok(AttachmentAnswer::Unchanged) => return Outcome::Same(Told::default(), None),
                Ok(AttachmentAnswer::Missing { is_deleted }) => {
                    let code = if is_deleted { "deleted" } else { "not_found" };
                    return Outcome::Ended(AttachmentState::Gone, code, Told::default());
                }
                Err(error) => error,
            };
            match verdict(&error) {
                // It concerns this one alone.
                (Outcome::Failed(_), tries) if attempts < tries => {
                    tokio::time::sleep(ASK_AGAIN * attempts).await;
                }
                (outcome, _) => return outcome,
            }
        }
    }

    /// The bytes that are had, if they are all there: a database that was restored may
    /// name some that are not.
    async fn had<'k>(&self, ask: &'k Ask) -> Result<Option<&'k AttachmentObject>, Failure> {
        let known = ask.known.as_ref();
        let Some(object) = known.and_then(|known| known.of.object.as_ref()) else {
            return Ok(None);
        };
        let is_there = is_there(&self.context.store, object).await?;
        Ok(is_there.then_some(object))
    }

    async fn ask(
        &self,
        ask: &Ask,
        had: Option<&AttachmentObject>,
    ) -> Result<AttachmentAnswer, source::Error> {
        let known = ask.known.as_ref().filter(|_| had.is_some());
        let declared = ask.declared();
        let request = AttachmentRequest {
            place: &ask.url,
            declared_type: declared.media_type.as_deref(),
            etag: known.and_then(|known| known.etag.as_deref()),
        };
        self.client.attachment(request).await
    }

    /// Takes the bytes as they come in. An error is the source's.
    async fn take(
        &self,
        ask: &Ask,
        had: Option<&AttachmentObject>,
        mut body: AttachmentBody,
        deadline: Instant,
    ) -> Result<Outcome, source::Error> {
        let mut told = Told {
            content_type: body.content_type(),
            size_bytes: body.size_bytes(),
            etag: body.etag().map(str::to_owned),
        };
        let limits = &self.context.limits.attachments;
        if told.size_bytes.is_some_and(|size| size > limits.bytes_max) {
            return Ok(Outcome::Ended(AttachmentState::TooLarge, "told_size", told));
        }
        let is_refused =
            |told: &Told| !is_allowed(&limits.types, told.content_type.as_deref(), &ask.declared());
        // Of a Binary resource it is not known yet.
        if (told.content_type.is_some() || told.size_bytes.is_some()) && is_refused(&told) {
            return Ok(Outcome::Ended(
                AttachmentState::TypeNotAllowed,
                "served_type",
                told,
            ));
        }
        let store = &self.context.store;
        let mut pieces = Pieces::new(store, self.connection, ask.id, &self.room);
        loop {
            let read = match tokio::time::timeout_at(deadline, body.chunk()).await {
                Ok(read) => read,
                Err(_) => {
                    pieces.discard().await;
                    return Ok(Outcome::Failed("too_slow"));
                }
            };
            let chunk = match read {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    pieces.discard().await;
                    return Err(error);
                }
            };
            if let Err(failure) = pieces.push(chunk).await {
                return Ok(Outcome::Broken(failure));
            }
            if pieces.size_bytes() > limits.bytes_max {
                told.size_bytes = Some(pieces.size_bytes());
                pieces.discard().await;
                return Ok(Outcome::Ended(
                    AttachmentState::TooLarge,
                    "served_size",
                    told,
                ));
            }
            if self.context.is_draining() {
                pieces.discard().await;
                return Ok(Outcome::NotBegun);
            }
        }
        told.content_type = body.content_type();
        if is_refused(&told) {
            pieces.discard().await;
            return Ok(Outcome::Ended(
                AttachmentState::TypeNotAllowed,
                "served_type",
                told,
            ));
        }
        Ok(finish(ask, had, pieces, told).await)
    }
}

/// Keeps what came in, unless it is what is had already.
async fn finish(
    ask: &Ask,
    had: Option<&AttachmentObject>,
    pieces: Pieces<'_>,
    mut told: Told,
) -> Outcome {
    let hashes = pieces.hashes();
    told.size_bytes = Some(hashes.size_bytes);
    let note = note(ask, &hashes, &told);
    if had.is_some_and(|had| had.sha256 == hashes.sha256) {
        pieces.discard().await;
        return Outcome::Same(told, note);
    }
    match pieces.finish().await {
        Ok(written) => {
            let object = AttachmentObject {
                object_key: written.object_key,
                piece_count: written.piece_count,
                size_bytes: written.size_bytes,
                sha256: written.sha256,
                fetched_at: Timestamp::now(),
            };
            Outcome::Stored(object, told, note)
        }
        Err(failure) => Outcome::Broken(failure),
    }
}

/// What of the bytes does not agree with what their resource says.
fn note(ask: &Ask, hashes: &Hashes, told: &Told) -> Option<&'static str> {
    let declared = ask.declared();
    let differs = |declared: Option<&str>, found: Option<&str>| {
        declared.zip(found).is_some_and(|(one, other)| one != other)
    };
    let size = declared.size_bytes;
    if differs(declared.sha1.as_deref(), Some(&hashes.sha1)) {
        Some("hash_differs")
    } else if size.is_some_and(|size| size != hashes.size_bytes) {
        Some("size_differs")
    } else if differs(declared.media_type.as_deref(), told.content_type.as_deref()) {
        Some("type_differs")
    } else {
        None
    }
}

impl Ask {
    /// What its resource says of it.
    pub(crate) fn declared(&self) -> db::Declared {
        match (&self.named, &self.known) {
            (Some(named), _) => named.declared.clone(),
            (None, Some(known)) => known.of.declared.clone(),
            (None, None) => db::Declared::default(),
        }
    }
}

/// What an error of the source's means to an attachment, and after how many attempts.
fn verdict(error: &source::Error) -> (Outcome, u32) {
    let is_of_one = matches!(
        error,
        source::Error::Failed { .. } | source::Error::Protocol { .. }
    );
    let nothing_told = Told::default;
    match on_source(Asked::Read, error) {
        SourceVerdict::Retry(code, tries) if is_of_one => (Outcome::Failed(code), tries),
        SourceVerdict::Retry(code, _) => (Outcome::Failed(code), 1),
        SourceVerdict::Wait(after) => (Outcome::Later(after, true), 1),
        SourceVerdict::Later(after) => (Outcome::Later(after, false), 1),
        SourceVerdict::NotAsked(code) => (Outcome::Broken(Failure::retry(code, error)), 1),
        SourceVerdict::Fail(code) => (Outcome::Hopeless(code), 1),
        SourceVerdict::End(_, "foreign_link") => {
            let state = AttachmentState::Elsewhere;
            (Outcome::Ended(state, "other_origin", nothing_told()), 1)
        }
        SourceVerdict::End(_, code) => {
            let state = AttachmentState::Refused;
            (Outcome::Ended(state, code, nothing_told()), 1)
        }
        // None of these is said of a read.
        SourceVerdict::Reconnect(code)
        | SourceVerdict::AskOtherwise(code)
        | SourceVerdict::Shrink(code) => (Outcome::Failed(code), 1),
        SourceVerdict::Restart => (Outcome::Failed("source_protocol"), 1),
    }
}

async fn is_there(store: &Store, object: &AttachmentObject) -> Result<bool, Failure> {
    let mut size_bytes = 0;
    for piece in object.pieces() {
        match store.size_bytes(&piece).await {
            Ok(size) => size_bytes += size,
            Err(records::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(size_bytes == object.size_bytes)
}

//! What a pull does about an answer of its source that is no resource: one table
//! for what was asked and what came back.

use std::time::Duration;

use model::TypeOutcome;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The source's capabilities.
    Metadata,
    /// The patient, by read: whether the grant works at all.
    Patient,
    /// The first page of a search.
    FirstPage,
    /// A further page, by its link.
    NextPage,
    /// A resource by its id.
    Read,
    /// A bulk export: for it to begin, how far it is, or one of its files.
    Export,
}

/// What a pull step does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceVerdict {
    /// The grant is not honoured any more: the patient has to connect again.
    Reconnect(&'static str),
    /// The question is refused: it may be put otherwise.
    AskOtherwise(&'static str),
    /// This search, or this resource, is not to be had.
    End(TypeOutcome, &'static str),
    /// The cursor is void: the search begins anew.
    Restart,
    /// The page is too large, or too slow to make: smaller ones are asked for.
    Shrink(&'static str),
    /// The source wants to be left alone so long.
    Wait(Duration),
    /// It was not asked: its turn is so far off.
    Later(Duration),
    /// Worth another attempt, so many in all.
    Retry(&'static str, u32),
    /// It was not asked: a fault of ours, worth another attempt.
    NotAsked(&'static str),
    /// Nothing of this source is to be had until somebody changes the settings.
    Fail(&'static str),
}

/// How long to leave a source alone that throttles without saying how long.
const THROTTLE_DEFAULT: Duration = Duration::from_secs(2);

/// Attempts while the source, or what stands before it, is down.
pub(crate) const OUTAGE_TRIES: u32 = 6;
/// Attempts at what the FHIR server itself says it fails at: mostly for good.
const FAILED_TRIES: u32 = 3;
/// Attempts at what is answered by something else than FHIR: once more, since an
/// answer may have been cut off.
const PROTOCOL_TRIES: u32 = 2;
/// Time-outs of a search in a row after which smaller pages are asked for.
pub(crate) const TIMEOUTS_MAX: u32 = 2;

/// The verdict on a source's answer.
pub(crate) fn on_source(asked: Asked, error: &source::Error) -> SourceVerdict {
    use Asked::{FirstPage, NextPage, Patient};
    use SourceVerdict as V;
    use source::Error as E;
    match (asked, error) {
        // A fresh token is refused for one type where that is not granted, and for the
        // patient where nothing is.
        (Patient, E::Unauthorized { .. }) => V::Reconnect("unauthorized"),
        (_, E::Unauthorized { .. }) => V::End(TypeOutcome::Refused, "unauthorized"),
        (_, E::Refused { said, .. }) if said.insufficient_scope => {
            V::End(TypeOutcome::Refused, "insufficient_scope")
        }
        // The token is good, and the patient is not to be seen: consent was withdrawn.
        (Patient, E::Refused { status: 403, .. }) => V::Reconnect("consent_withdrawn"),
        (FirstPage, E::Refused { .. }) => V::AskOtherwise("refused"),
        (FirstPage, E::Failed { said, .. }) if said.demand.is_some() => V::AskOtherwise("refused"),
        (_, E::Refused { .. }) => V::End(TypeOutcome::Refused, "refused"),
        (_, E::Failed { .. }) => V::Retry("source_failed", FAILED_TRIES),
        (_, E::Throttled { retry_after, .. }) => V::Wait(retry_after.unwrap_or(THROTTLE_DEFAULT)),
        (_, E::CursorExpired { .. }) => V::Restart,
        (_, E::Unavailable { .. }) => V::Retry("source_unavailable", OUTAGE_TRIES),
        (_, E::Protocol { .. }) => V::Retry("source_protocol", PROTOCOL_TRIES),
        // While the source keeps itself closed, each wait is one that it asked for.
        (_, E::NotYet { after, is_held, .. }) => match is_held {
            true => V::Wait(*after),
            false => V::Later(*after),
        },
        (_, E::NoTurn) => V::NotAsked("database_unavailable"),
        (_, E::NoToken { after, .. }) => V::Wait(*after),
        (_, E::GrantLost { .. }) => V::Fail("needs_reconnect"),
        (_, E::LoginRefused { .. }) => V::Fail("login_refused"),
        (_, E::ForeignLink { .. }) => V::End(TypeOutcome::Truncated, "foreign_link"),
        (_, E::AddressRefused { .. }) => V::Fail(guard::ADDRESS_REFUSED),
        (FirstPage | NextPage, E::TooLarge { .. }) => V::Shrink("page_too_large"),
        (_, E::TooLarge { .. }) => V::End(TypeOutcome::GaveUp, "page_too_large"),
        (_, E::Config { .. }) => V::End(TypeOutcome::GaveUp, "source_config"),
    }
}

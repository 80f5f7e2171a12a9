//! What a pull does about an attachment, by what its resource says, what is known of it
//! and what is allowed: one rule for all, without asking anybody.

use db::{Declared, OpenAttachment, Pull};
use model::{AttachmentState, MediaTypes, OCTETS, Timestamp};

use crate::AttachmentLimits;
use crate::pull_attachments_named::{Named, Place};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It is asked for.
    Ask,
    /// Nobody need be asked: this is what becomes of it, and why.
    Decide(AttachmentState, &'static str),
    /// It stays as it is known, and counts so.
    Stay(AttachmentState),
    /// This pull has seen to it already.
    Done,
    /// It is no matter of this pull.
    Pass,
}

/// What the rule goes by.
pub(crate) struct Rules<'a> {
    pub(crate) limits: &'a AttachmentLimits,
    pub(crate) pull: &'a Pull,
    pub(crate) now: Timestamp,
}

impl Rules<'_> {
    pub(crate) fn duty(&self, named: Option<&Named>, known: Option<&OpenAttachment>) -> Duty {
        if known.is_some_and(|known| known.of.pull_id == self.pull.id) {
            return Duty::Done;
        }
        match named.map(|named| named.place) {
            Some(Place::Elsewhere) => return self.not_asked("other_origin", known),
            Some(Place::Nowhere) => return self.not_asked("no_url", known),
            Some(Place::Here) | None => {}
        }
        // A resource that changed may have another document behind the same URL.
        let again = self.pull.full || named.is_some_and(|named| named.is_changed);
        let state = known.map(|known| known.of.state);
        if state == Some(AttachmentState::Fetched) && !again {
            return match named {
                Some(_) => Duty::Stay(AttachmentState::Fetched),
                None => Duty::Pass,
            };
        }
        if !may_be(&self.limits.types, declared_type(named, known)) {
            return match state {
                Some(AttachmentState::TypeNotAllowed) => self.stays(named, known),
                _ if named.is_none() && state != Some(AttachmentState::Failed) => Duty::Pass,
                _ => Duty::Decide(AttachmentState::TypeNotAllowed, "declared_type"),
            };
        }
        match known {
            None => Duty::Ask,
            Some(known) if self.is_asked_again(named, known, again) => Duty::Ask,
            Some(_) => self.stays(named, known),
        }
    }

    /// Whether what was not had the last time may be had now.
    fn is_asked_again(&self, named: Option<&Named>, known: &OpenAttachment, again: bool) -> bool {
        let of = &known.of;
        let is_due = of.not_before.is_some_and(|at| at <= self.now);
        match of.state {
            AttachmentState::Failed => again || is_due || self.pull.retry_of.is_some(),
            AttachmentState::Fetched | AttachmentState::Refused | AttachmentState::Gone => {
                named.is_some() && (again || is_due)
            }
            AttachmentState::TooLarge => {
                let told = of.told_size_bytes;
                again || told.is_some_and(|told| told <= self.limits.bytes_max)
            }
            AttachmentState::TypeNotAllowed => {
                again || is_allowed(&self.limits.types, of.content_type.as_deref(), &of.declared)
            }
            AttachmentState::Elsewhere => named.is_some(),
        }
    }

    fn not_asked(&self, code: &'static str, known: Option<&OpenAttachment>) -> Duty {
        match known {
            Some(known) if known.of.state == AttachmentState::Elsewhere => {
                Duty::Stay(AttachmentState::Elsewhere)
            }
            _ => Duty::Decide(AttachmentState::Elsewhere, code),
        }
    }

    /// One that is known stays. What failed counts until it is had, whether or not its
    /// resource was served again.
    fn stays(&self, named: Option<&Named>, known: Option<&OpenAttachment>) -> Duty {
        match known.map(|known| known.of.state) {
            Some(state) if named.is_some() || state == AttachmentState::Failed => Duty::Stay(state),
            _ => Duty::Pass,
        }
    }
}

/// What an attachment is said to be, by its resource.
fn declared_type<'a>(
    named: Option<&'a Named>,
    known: Option<&'a OpenAttachment>,
) -> Option<&'a str> {
    let declared = named.map(|named| &named.declared);
    let declared = declared.or(known.map(|known| &known.of.declared))?;
    declared.media_type.as_deref()
}

/// Whether something that is said to be this may be asked for: what does not say may be.
fn may_be(types: &MediaTypes, declared_type: Option<&str>) -> bool {
    declared_type.is_none_or(|name| name == OCTETS || types.has(name))
}

/// Whether what is served so may be kept: it is what the source says, else what the
/// resource says, else just bytes.
pub(crate) fn is_allowed(types: &MediaTypes, served: Option<&str>, declared: &Declared) -> bool {
    let name = served.or(declared.media_type.as_deref());
    types.has(name.unwrap_or(OCTETS))
}

#[cfg(test)]
mod tests {
    use db::{Attachment, AttachmentObject};
    use model::{AttachmentId, ConnectionId, PullCounts, PullId, PullKind, RunPhase, RunState};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn pull(full: bool, retry: bool) -> Pull {
        Pull {
            id: PullId::new(),
            connection_id: ConnectionId::new(),
            kind: PullKind::Fetch,
            state: RunState::Running,
            phase: RunPhase::Working,
            full,
            retry_of: retry.then(PullId::new),
            batch_seq: None,
            pages: 0,
            counts: PullCounts::default(),
            attachments: None,
            error_code: None,
            created_at: NOW,
            started_at: None,
            finished_at: None,
            triggers: Vec::new(),
        }
    }

    fn named(is_changed: bool, media_type: Option<&str>) -> Named {
        Named {
            place: Place::Here,
            resource_type: "DocumentReference".to_owned(),
            is_changed,
            declared: Declared {
                media_type: media_type.map(str::to_owned),
                ..Declared::default()
            },
        }
    }

    fn known(state: AttachmentState) -> OpenAttachment {
        OpenAttachment {
            of: Attachment {
                id: AttachmentId::new(),
                connection_id: ConnectionId::new(),
                resource_type: "DocumentReference".to_owned(),
                state,
                code: None,
                attempts: 1,
                not_before: None,
                declared: Declared::default(),
                content_type: Some("application/zip".to_owned()),
                told_size_bytes: Some(101),
                object: None::<AttachmentObject>,
                pull_id: PullId::new(),
                created_at: NOW,
                updated_at: NOW,
            },
            url: "Binary/1".to_owned(),
            etag: None,
        }
    }

    fn limits(types: &[&str], bytes_max: u64) -> AttachmentLimits {
        AttachmentLimits {
            bytes_max,
            types: MediaTypes::new(types),
        }
    }

    #[test]
    fn each_state_is_asked_again_for_its_own_reasons() {
        use AttachmentState as S;
        let limits = limits(&["text/*"], 100);
        let (plain, full, retry) = (pull(false, false), pull(true, false), pull(false, true));
        let duty = |pull: &Pull, named: Option<&Named>, known: &OpenAttachment| {
            let (limits, now) = (&limits, NOW);
            Rules { limits, pull, now }.duty(named, Some(known))
        };
        let (same, changed) = (named(false, None), named(true, None));
        for state in S::ALL
            .iter()
            .copied()
            .filter(|state| *state != S::Elsewhere)
        {
            let known = known(state);
            assert_eq!(duty(&plain, Some(&same), &known), Duty::Stay(state));
            assert_eq!(duty(&plain, Some(&changed), &known), Duty::Ask, "{state}");
            assert_eq!(duty(&full, Some(&same), &known), Duty::Ask, "{state}");
            let alone = duty(&plain, None, &known);
            match state {
                S::Failed => assert_eq!(alone, Duty::Stay(S::Failed)),
                _ => assert_eq!(alone, Duty::Pass, "{state}"),
            }
        }
        let failed = known(S::Failed);
        assert_eq!(duty(&retry, None, &failed), Duty::Ask);
        for (state, expected) in [(S::Failed, Duty::Ask), (S::Gone, Duty::Pass)] {
            let mut due = known(state);
            due.of.not_before = Some(NOW);
            assert_eq!(duty(&plain, None, &due), expected);
            assert_eq!(duty(&plain, Some(&same), &due), Duty::Ask);
        }
        let mut done = known(S::Failed);
        done.of.pull_id = full.id;
        assert_eq!(duty(&full, Some(&changed), &done), Duty::Done);
    }

    #[test]
    fn what_is_not_allowed_is_asked_for_once_it_is() {
        use AttachmentState as S;
        let plain = pull(false, false);
        let duty =
            |limits: &AttachmentLimits, named: Option<&Named>, known: Option<&OpenAttachment>| {
                let (pull, now) = (&plain, NOW);
                Rules { limits, pull, now }.duty(named, known)
            };
        let (narrow, wide) = (limits(&["text/*"], 100), limits(&["*/*"], 200));
        let zip = named(false, Some("application/zip"));
        let refused = Duty::Decide(S::TypeNotAllowed, "declared_type");
        assert_eq!(duty(&narrow, Some(&zip), None), refused);
        assert_eq!(duty(&wide, Some(&zip), None), Duty::Ask);
        let octets = named(false, Some(OCTETS));
        assert_eq!(duty(&narrow, Some(&octets), None), Duty::Ask);
        for state in [S::TypeNotAllowed, S::TooLarge] {
            let known = known(state);
            assert_eq!(duty(&narrow, None, Some(&known)), Duty::Pass);
            assert_eq!(duty(&wide, None, Some(&known)), Duty::Ask);
        }
        let known = known(S::TypeNotAllowed);
        let stays = Duty::Stay(S::TypeNotAllowed);
        assert_eq!(duty(&narrow, Some(&zip), Some(&known)), stays);
    }

    #[test]
    fn another_server_is_never_asked() {
        let (limits, full) = (limits(&["*/*"], 100), pull(true, true));
        let rules = Rules {
            limits: &limits,
            pull: &full,
            now: NOW,
        };
        for (place, code) in [
            (Place::Elsewhere, "other_origin"),
            (Place::Nowhere, "no_url"),
        ] {
            let of = Named {
                place,
                ..named(true, None)
            };
            let decided = Duty::Decide(AttachmentState::Elsewhere, code);
            assert_eq!(rules.duty(Some(&of), None), decided);
            let known = known(AttachmentState::Elsewhere);
            let stays = Duty::Stay(AttachmentState::Elsewhere);
            assert_eq!(rules.duty(Some(&of), Some(&known)), stays);
        }
    }

    #[test]
    fn what_is_served_counts_before_what_was_said() {
        let types = MediaTypes::new(&["application/pdf"]);
        let pdf = Declared {
            media_type: Some("application/pdf".to_owned()),
            ..Declared::default()
        };
        assert!(is_allowed(&types, None, &pdf));
        assert!(!is_allowed(&types, Some("application/zip"), &pdf));
        assert!(!is_allowed(&types, None, &Declared::default()));
    }
}

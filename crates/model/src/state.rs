//! The states of runs and connections: the same words in the database, the API,
//! the Temporal UI and the logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that is not one of the legal ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {noun}; valid values are {valid}")]
pub struct WordError {
    /// What the word should have named.
    pub noun: &'static str,
    /// The word given.
    pub word: String,
    /// The legal words, joined by commas.
    pub valid: String,
}

/// An enum whose variants are words on disk and on the wire.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $noun:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for this value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(word: &str) -> Result<Self, WordError> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(WordError {
                        noun: $noun,
                        word: word.chars().take(64).collect(),
                        valid: [$($word,)+].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

words!(
    /// The state of a run, pull or export: the same everywhere.
    RunState, "run state" {
        /// Waiting for its workflow to take it.
        Queued = "queued",
        /// Being worked on.
        Running = "running",
        /// Everything was done.
        Completed = "completed",
        /// Done, but for what its errors name.
        Partial = "partial",
        /// Nothing that counts was done.
        Failed = "failed",
        /// Ended by request.
        Cancelled = "cancelled",
    }
);

impl RunState {
    /// Whether the run has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

words!(
    /// Where a running run stands. Moving it is what makes late saves of the phase
    /// before fail; an export that plans anew works again.
    RunPhase, "run phase" {
        /// Fetching pages, or writing chunks.
        Working = "working",
        /// A pull writes its batch, or an export its publication.
        Committing = "committing",
        /// Ended.
        Done = "done",
    }
);

words!(
    /// Whether a connection can be pulled.
    ConnectionStatus, "connection status" {
        /// Its grant works.
        Active = "active",
        /// The source no longer honours its grant: the patient has to connect again.
        NeedsReconnect = "needs_reconnect",
        /// Ended by the operator or the patient.
        Revoked = "revoked",
    }
);

words!(
    /// Why a run was asked for.
    Trigger, "trigger" {
        /// A person or a program asked for it.
        Manual = "manual",
        /// A destination was added.
        DestinationAdded = "destination_added",
        /// A destination was enabled again.
        Reactivated = "reactivated",
        /// A pull brought changes.
        PullCompleted = "pull_completed",
        /// A connection was added.
        ConnectionAdded = "connection_added",
        /// Another run left something undone.
        Retry = "retry",
        /// The database was restored from a copy and put right.
        Recovered = "recovered",
        /// The schedule of the source or the connection said so.
        Scheduled = "scheduled",
    }
);

words!(
    /// How the pull of one resource type ended.
    TypeOutcome, "type outcome" {
        /// Every page was read.
        Complete = "complete",
        /// The source would not give this type.
        Refused = "refused",
        /// The source gave an answer but said that it left some out.
        Suppressed = "suppressed",
        /// The source kept failing.
        GaveUp = "gave_up",
        /// A bound was reached before the last page.
        Truncated = "truncated",
        /// The source has this type, and the grant does not reach it: it was not asked for.
        NotGranted = "not_granted",
    }
);

words!(
    /// How a source is asked for a patient's record.
    #[derive(Default)]
    Strategy, "strategy" {
        /// Type by type, by searches.
        #[default]
        Search = "search",
        /// First by `$everything`, then by searches for what that did not give.
        Everything = "everything",
        /// First by a bulk export of this patient, then by searches for what that does
        /// not vouch for.
        Bulk = "bulk",
    }
);

words!(
    /// What is done about attachments that the resources of a source name by URL.
    #[derive(Default)]
    AttachmentPolicy, "attachment policy" {
        /// They are fetched.
        #[default]
        Fetch = "fetch",
        /// They stay at the source.
        Leave = "leave",
    }
);

words!(
    /// What became of an attachment.
    AttachmentState, "attachment state" {
        /// Its bytes are in the record store.
        Fetched = "fetched",
        /// The source kept failing: it is asked for again.
        Failed = "failed",
        /// The source would not give it.
        Refused = "refused",
        /// It is not there.
        Gone = "gone",
        /// It is larger than the limit.
        TooLarge = "too_large",
        /// Its media type is not one of those that are taken.
        TypeNotAllowed = "type_not_allowed",
        /// Its URL leads to another server, or nowhere: nobody was asked.
        Elsewhere = "elsewhere",
    }
);

words!(
    /// What a pull does.
    PullKind, "kind of pull" {
        /// It asks the source.
        Fetch = "fetch",
        /// It settles deletions that were held and have been accepted.
        AcceptDeletes = "accept_deletes",
    }
);

words!(
    /// What a pull asked a source for of one resource type.
    PullMode, "mode of a type" {
        /// All there is: absence from it may be evidence of a deletion.
        Full = "full",
        /// What has changed since it was last had: absence says nothing.
        Updated = "updated",
    }
);

words!(
    /// What became of deletions that were held.
    HeldState, "state of held deletions" {
        /// They wait for a decision.
        Held = "held",
        /// They were accepted, and a pull settles them.
        Accepted = "accepted",
        /// They were discarded.
        Discarded = "discarded",
        /// A later pull looked again.
        Replaced = "replaced",
    }
);

words!(
    /// Why a connection is left out of a destination's automatic exports.
    HoldReason, "reason of a hold" {
        /// Its chunk failed.
        Failed = "failed",
        /// The export that had planned it was cancelled.
        Cancelled = "cancelled",
    }
);

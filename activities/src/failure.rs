//! The one place where errors become retry verdicts: retryable, with the delay
//! the other side asked for, or final, with a stable code. No foreign text
//! enters a failure: the messages are our own, and name objects by our ids.

use std::time::Duration;

use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;

/// How a step did not give its receipt.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt holds the step, or the run has ended: no verdict.
    Lost,
    /// Worth another attempt.
    Retry {
        code: &'static str,
        what: String,
        after: Option<Duration>,
    },
    /// No attempt will do better.
    Final { code: &'static str, what: String },
}

impl Failure {
    pub(crate) fn retry(code: &'static str, what: impl ToString) -> Self {
        Self::Retry {
            code,
            what: what.to_string(),
            after: None,
        }
    }

    pub(crate) fn last(code: &'static str, what: impl ToString) -> Self {
        Self::Final {
            code,
            what: what.to_string(),
        }
    }
}

impl Failure {
    /// Its code, and its words: for whoever is told and does not try again.
    pub(crate) fn told(self) -> (&'static str, String) {
        match self {
            Self::Lost => (steps::LOST, self.to_string()),
            Self::Retry { code, what, .. } | Self::Final { code, what } => (code, what),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost => f.write_str("another attempt holds the step, or its run has ended"),
            Self::Retry { code, what, .. } | Self::Final { code, what } => {
                write!(f, "{what} ({code})")
            }
        }
    }
}

/// Attempts of a step without saved progress before its failure is final: with
/// the pauses between them, about a quarter of an hour.
const IDLE_ATTEMPTS_MAX: u64 = 20;

impl Failure {
    /// The verdict within the budget of a step that has made `idle_attempts`
    /// attempts without progress: every run ends (I6).
    pub(crate) fn within(self, idle_attempts: u64) -> Self {
        match self {
            Self::Retry { code, what, .. } if idle_attempts >= IDLE_ATTEMPTS_MAX => {
                Self::Final { code, what }
            }
            verdict => verdict,
        }
    }
}

impl From<Failure> for ActivityError {
    fn from(failure: Failure) -> Self {
        let (code, what, last, after) = match failure {
            Failure::Lost => (
                steps::LOST,
                "another attempt holds the step, or its run has ended".to_owned(),
                true,
                None,
            ),
            Failure::Retry { code, what, after } => (code, what, false, after),
            Failure::Final { code, what } => (code, what, true, None),
        };
        ApplicationFailure::builder(what)
            .type_name(code.to_owned())
            .non_retryable(last)
            .maybe_next_retry_delay(after)
            .build()
            .into()
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Lost => Self::Lost,
            db::Error::LogMoved => Self::retry("log_moved", error),
            // No row that a step asks for is ever removed while its run is open, so a
            // read that misses one is worth another look before the run ends for it.
            db::Error::NotFound { .. } => Self::retry("not_found", error),
            db::Error::Corrupt { .. } => Self::last("database_corrupt", error),
            db::Error::Sealed(_) => Self::last("sealed", error),
            db::Error::Conflict { .. } => Self::last("conflict", error),
            db::Error::Migration { .. } => Self::last("migration", error),
            // The driver's own text may quote what was bound: it is not passed on.
            _ => Self::retry(
                "database_unavailable",
                "the database did not answer as it should",
            ),
        }
    }
}

impl From<records::Error> for Failure {
    fn from(error: records::Error) -> Self {
        use records::Error as E;
        match error {
            E::NotFound { .. } => Self::retry("record_missing", error),
            E::Unavailable { .. } => Self::retry("record_store_unavailable", error),
            E::Denied { .. } => Self::retry("record_store_denied", error),
            E::KeyRefused => Self::retry("record_store_key_refused", error),
            E::BucketMissing => Self::retry("record_store_bucket_missing", error),
            E::AddressRefused(_) => Self::last(guard::ADDRESS_REFUSED, error),
            E::NoConditionalCreate => Self::last("record_store_no_conditional_create", error),
            E::AlreadyExists { .. } | E::Corrupt { .. } => Self::last("record_corrupt", error),
            E::UnsupportedVersion { .. } => Self::last("record_version", error),
            E::TooLarge { .. } => Self::last("record_too_large", error),
            E::Invalid { .. } | E::Unsupported { .. } => Self::last("internal", error),
        }
    }
}

impl From<destination::Error> for Failure {
    fn from(error: destination::Error) -> Self {
        use destination::Error as E;
        match error {
            E::Unavailable { .. } => Self::retry("destination_unavailable", error),
            E::Denied { .. } => Self::last("destination_denied", error),
            E::Credentials { .. } => Self::last("destination_credentials", error),
            E::KeyRefused => Self::last("destination_key_refused", error),
            E::BucketMissing => Self::last("destination_bucket_missing", error),
            E::ClockSkew => Self::last("destination_clock_skew", error),
            E::Tls => Self::last("destination_tls", error),
            E::AddressRefused(_) => Self::last(guard::ADDRESS_REFUSED, error),
            E::ForeignOwner { .. } => Self::last("destination_foreign", error),
            E::NoConditionalCreate => Self::last("destination_no_conditional_create", error),
            E::NotFound { .. } => Self::last("destination_missing", error),
            E::Unsupported { .. } => Self::last("destination_unsupported", error),
            E::Newer { .. } => Self::last("destination_newer", error),
            E::Corrupt { .. } => Self::last("destination_corrupt", error),
        }
    }
}

impl From<formats::Error> for Failure {
    fn from(error: formats::Error) -> Self {
        Self::last("encode", error)
    }
}

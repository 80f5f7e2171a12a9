//! What a database call can end with, by what its caller does next.

/// A database call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such row.
    #[error("no {noun} `{id}`: `chartlift {noun} list` shows what there is")]
    NotFound {
        /// What was looked for.
        noun: &'static str,
        /// The id or name given.
        id: String,
    },
    /// Another row stands in the way.
    #[error("{what}")]
    Conflict {
        /// What stands in the way, and what to do.
        what: String,
    },
    /// It is no longer as the caller has seen it; nothing was changed.
    #[error("it has changed since it was read")]
    Changed,
    /// The effect of the call's `Idempotency-Key` has happened already; nothing was
    /// changed.
    #[error("this was done already under the same Idempotency-Key")]
    Repeated,
    /// The caller was cut off: another attempt holds its step, or its run has
    /// ended. It stops, without a verdict on the run.
    #[error("the step is held by another attempt, or its run has ended")]
    Lost,
    /// Somebody else changed the connection's log first: read again.
    #[error("the connection's log has moved on")]
    LogMoved,
    /// A stored value cannot be what it should be.
    #[error("column {column} holds a value this version cannot read")]
    Corrupt {
        /// The column.
        column: String,
    },
    /// A sealed value does not open.
    #[error(transparent)]
    Sealed(#[from] seal::Error),
    /// The database is of another version.
    #[error("{what}")]
    Migration {
        /// What is wrong, and what to do.
        what: String,
    },
    /// The database cannot be connected to.
    #[error("{what}")]
    Connect {
        /// What is wrong, and what to do.
        what: String,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// The database did not answer as it should: not there, cut off, or, as
    /// PostgreSQL may, it has given up this transaction for another. Worth asking
    /// again.
    #[error("the database refused: {0}")]
    Unavailable(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl Error {
    /// Turns a unique violation into a conflict that says what to do.
    pub(crate) fn unique(error: sqlx::Error, what: impl FnOnce() -> String) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => {
                Self::Conflict { what: what() }
            }
            _ => Self::Unavailable(error),
        }
    }
}

//! Where a page of a record ends, as text. A cursor pins the index of each log, so that
//! pulls which settle meanwhile move nothing between pages.

use std::fmt::Write;

use model::{BatchId, ConnectionId, ObjectKey};

use crate::problem::Problem;

/// What a cursor begins with: others can follow.
const CURSOR_KIND: &str = "1-";

/// In the place of an index that is not pinned: the log is read from its footers.
const NO_DIGITS: &str = "00000000000000000000000000000000";

/// Where a page ends, and what the next one is read from.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(super) logs: Vec<PinnedLog>,
    /// Resources before it.
    pub(crate) at: usize,
}

#[derive(Debug, Clone)]
pub(super) struct PinnedLog {
    pub(super) connection: ConnectionId,
    pub(super) head: u64,
    pub(super) index: Option<String>,
}

impl Cursor {
    /// `1-AT`, and for each log `~CONNECTION-HEAD-DIGITS`, the digits those of the
    /// batch whose index is pinned, or zeros.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("{CURSOR_KIND}{}", self.at);
        for log in &self.logs {
            let digits = log
                .index
                .as_deref()
                .and_then(index_digits)
                .unwrap_or(NO_DIGITS);
            let _ = write!(text, "~{}-{}-{digits}", log.connection, log.head);
        }
        text
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Problem> {
        let read = || {
            let mut parts = text.strip_prefix(CURSOR_KIND)?.split('~');
            let at = parts.next()?.parse().ok()?;
            let logs: Option<Vec<PinnedLog>> = parts.map(PinnedLog::decode).collect();
            Some(Self { logs: logs?, at })
        };
        read().ok_or_else(|| {
            Problem::parameter(
                "`cursor` is not one of this record's: take it from the `next` link.",
            )
        })
    }
}

impl PinnedLog {
    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let connection: ConnectionId = parts.next()?.parse().ok()?;
        let head: u64 = parts.next()?.parse().ok()?;
        let digits = parts.next()?;
        let id: BatchId = format!("{}{digits}", BatchId::PREFIX).parse().ok()?;
        let index = ObjectKey::Index {
            connection,
            seq: head,
            batch: id,
        };
        parts.next().is_none().then(|| Self {
            connection,
            head,
            index: (digits != NO_DIGITS).then(|| index.to_string()),
        })
    }
}

/// The digits of the batch's id in the name of an index.
fn index_digits(key: &str) -> Option<&str> {
    let (_, rest) = key.rsplit_once(BatchId::PREFIX)?;
    rest.get(..NO_DIGITS.len())
}

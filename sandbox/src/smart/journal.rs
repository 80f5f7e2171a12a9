//! The append-only record of token requests: when each began and ended, so that a
//! test can prove that no two of a grant were in flight together. Never a token.

use super::Smart;
use serde::{Deserialize, Serialize};

/// One token request that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// Counts from 1, without gaps, in the order in which they ended.
    pub seq: u64,
    /// When it came, in microseconds since 1970.
    pub started_us: i64,
    /// When it was answered, or the client had gone.
    pub ended_us: i64,
    /// Its `grant_type`.
    pub grant_type: String,
    /// The client that it named.
    pub client_id: String,
    /// The number of the grant that it was for; 0 where that is not known.
    pub grant: u64,
    /// The status of the answer; 499: the client had gone before there was one.
    pub status: u16,
    /// The `error` of the answer.
    pub error: Option<String>,
}

/// The requests that have ended, and how many have not.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    ended: Vec<TokenRequest>,
    underway: u64,
}

impl Journal {
    pub(crate) fn entries(&self) -> Vec<TokenRequest> {
        self.ended.clone()
    }

    pub(crate) fn underway(&self) -> u64 {
        self.underway
    }
}

/// A token request under way. Dropped, it has ended.
pub(crate) struct Underway {
    smart: Smart,
    pub(crate) entry: TokenRequest,
}

impl Underway {
    pub(crate) fn begin(smart: &Smart) -> Self {
        smart.journal().underway += 1;
        Self {
            smart: smart.clone(),
            entry: TokenRequest {
                seq: 0,
                started_us: super::now().as_micros() as i64,
                ended_us: 0,
                grant_type: String::new(),
                client_id: String::new(),
                grant: 0,
                status: 499,
                error: None,
            },
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut journal = self.smart.journal();
        self.entry.ended_us = super::now().as_micros() as i64;
        self.entry.seq = journal.ended.len() as u64 + 1;
        journal.underway -= 1;
        journal.ended.push(self.entry.clone());
    }
}

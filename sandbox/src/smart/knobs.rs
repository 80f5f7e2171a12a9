//! What can go wrong at the authorization server.

use serde::{Deserialize, Serialize};

/// Faults of the authorization server, and how it deals with tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmartKnobs {
    /// How long an access token is good.
    pub token_lifetime_ms: u64,
    /// `expires_in` is left out of answers.
    pub omit_expires_in: bool,
    /// A refresh gives a new refresh token.
    pub rotate: bool,
    /// After a rotation the old refresh token stays good until the new pair is first used. Otherwise it
    /// is void at once, and using it ends the whole grant.
    pub keep_old_until_new_is_used: bool,
    /// Whoever authorizes is asked on a page: whose record, which scopes, yes or no. Otherwise requests
    /// are approved at once.
    pub consent_page: bool,
    /// The scope of tokens, instead of what was asked for.
    pub scope: Option<String>,
    /// `patient` in answers to refreshes, instead of the grant's.
    pub other_patient: Option<String>,
    /// Waited before a token request is looked at.
    pub token_latency_ms: u64,
    /// Waited after a token request was carried out and before its answer leaves: a client that is
    /// killed meanwhile never hears of it.
    pub answer_latency_ms: u64,
    /// Token requests are never answered.
    pub token_hang: bool,
    /// Token requests are answered with this status and a page of HTML.
    pub token_status: Option<u16>,
    /// So many token requests are answered with 503; counts down.
    pub token_fail_next: u32,
    /// So many refreshes are answered with `invalid_grant`, and the grant is over; counts down.
    pub invalid_grant_next: u32,
    /// The server's clock is ahead by so much (behind, if negative): assertions are judged and answers
    /// dated by it.
    pub clock_offset_s: i64,
}

impl Default for SmartKnobs {
    fn default() -> Self {
        Self {
            token_lifetime_ms: 300_000,
            omit_expires_in: false,
            rotate: true,
            keep_old_until_new_is_used: true,
            consent_page: false,
            scope: None,
            other_patient: None,
            token_latency_ms: 0,
            answer_latency_ms: 0,
            token_hang: false,
            token_status: None,
            token_fail_next: 0,
            invalid_grant_next: 0,
            clock_offset_s: 0,
        }
    }
}

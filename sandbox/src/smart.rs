//! The portal's SMART App Launch and Backend Services: who may ask, with what
//! token, for how long. Off unless [`crate::SandboxOptions::smart`] names clients.
//!
//! `http.rs` has the endpoints, `token.rs` that of tokens, `page.rs` what a patient is
//! asked, `client.rs` who asks, `grants.rs` what was granted, `assertion.rs` what a signed
//! client proves, `journal.rs` which token requests there were and when.
//! Invariant: no token and no secret is ever logged.

mod assertion;
mod client;
mod grants;
mod http;
mod journal;
mod knobs;
mod page;
#[cfg(test)]
mod tests;
mod token;

pub use grants::Issued;
pub use journal::TokenRequest;
pub use knobs::SmartKnobs;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grants::Grants;
pub(crate) use http::{public, router};
use journal::Journal;

/// A client that the portal knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmartClient {
    /// Its `client_id`.
    pub id: String,
    /// What it proves itself with: `client_secret_basic` or `client_secret_post`.
    pub secret: Option<String>,
    /// The public keys of one that signs: `private_key_jwt`. One with neither is public.
    pub jwks: Option<Value>,
}

/// What the portal's authorization server begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmartOptions {
    /// The clients; more come by `PUT /_smart/clients`.
    pub clients: Vec<SmartClient>,
    /// The faults it begins with.
    pub knobs: SmartKnobs,
}

/// The authorization server, to change it and to read what was asked. Clones share it.
#[derive(Debug, Clone)]
pub struct Smart {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clients: Mutex<Vec<SmartClient>>,
    knobs: Mutex<SmartKnobs>,
    grants: Mutex<Grants>,
    journal: Mutex<Journal>,
}

impl Smart {
    pub(crate) fn new(options: SmartOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                clients: Mutex::new(options.clients),
                knobs: Mutex::new(options.knobs),
                grants: Mutex::default(),
                journal: Mutex::default(),
            }),
        }
    }

    /// Adds a client, or replaces the one with its id.
    pub fn put_client(&self, client: SmartClient) {
        let mut clients = self.inner.clients.lock().expect("no holder panics");
        clients.retain(|known| known.id != client.id);
        clients.push(client);
    }

    /// Grants a client access to a patient's record, as if the patient had just approved.
    pub fn grant(&self, client_id: &str, patient: &str, scope: &str) -> Issued {
        let knobs = self.knobs();
        self.grants()
            .open(client_id, Some(patient), scope, true, &knobs)
    }

    /// The patient takes a grant back: none of its tokens is good any more.
    pub fn revoke(&self, grant: u64) {
        self.grants().revoke(grant);
    }

    /// All access tokens end now, though nobody was told; refresh tokens stay.
    pub fn forget_access_tokens(&self) {
        self.grants().forget_access_tokens();
    }

    /// Whether a grant can still be refreshed with a token that the portal has given out.
    pub fn is_alive(&self, grant: u64) -> bool {
        self.grants().is_alive(grant)
    }

    /// How many grants there were so far; their numbers count from 1.
    pub fn grant_count(&self) -> u64 {
        self.grants().count()
    }

    /// How many grants are over.
    pub fn grants_over(&self) -> u64 {
        self.grants().over()
    }

    /// How many token requests are under way.
    pub fn underway(&self) -> u64 {
        self.journal().underway()
    }

    /// Whether a refresh token is the one that was given out last of its grant.
    pub fn is_current(&self, grant: u64, refresh_token: &str) -> bool {
        self.grants().is_current(grant, refresh_token)
    }

    /// The knobs as they stand.
    pub fn knobs(&self) -> SmartKnobs {
        self.inner.knobs.lock().expect("no holder panics").clone()
    }

    /// Replaces all knobs.
    pub fn set_knobs(&self, knobs: SmartKnobs) {
        *self.inner.knobs.lock().expect("no holder panics") = knobs;
    }

    /// The token requests so far, in the order in which they ended.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.journal().entries()
    }

    /// Whether a request under `/fhir` with this bearer token is let through.
    pub(crate) fn admits(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| self.grants().use_access(token))
    }

    fn client(&self, id: &str) -> Option<SmartClient> {
        let clients = self.inner.clients.lock().expect("no holder panics");
        clients.iter().find(|client| client.id == id).cloned()
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.inner.grants.lock().expect("no holder panics")
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.inner.journal.lock().expect("no holder panics")
    }

    /// Changes knobs that count down.
    fn take<T>(&self, take: impl FnOnce(&mut SmartKnobs) -> T) -> T {
        take(&mut self.inner.knobs.lock().expect("no holder panics"))
    }

    /// The portal's clock in seconds since 1970, which need not be right.
    fn clock_s(&self) -> i64 {
        let now = now().as_secs() as i64;
        now + self.knobs().clock_offset_s
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A random text that nobody guesses, with a prefix that says what it is.
fn random(prefix: &str) -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
    format!("{prefix}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

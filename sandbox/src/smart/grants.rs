//! Grants and their tokens: what is good, until when, and what a refresh does.

use super::{SmartKnobs, now, random};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Authorization codes are good for so long.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// Tokens that were given out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The number of the grant.
    pub grant: u64,
    /// The access token.
    pub access_token: String,
    /// The refresh token, where there is one.
    pub refresh_token: Option<String>,
    /// What was granted.
    pub scope: String,
    /// The patient, of a grant by one.
    pub patient: Option<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued(grant {})", self.grant)
    }
}

#[derive(Debug)]
struct Grant {
    client_id: String,
    patient: Option<String>,
    scope: String,
    /// The refresh token that was given out last.
    current: Option<String>,
    /// Those before it that are still good, until the new pair is first used.
    previous: BTreeSet<String>,
    is_over: bool,
}

#[derive(Debug)]
struct Access {
    grant: u64,
    /// The refresh token it was given out with.
    pair: Option<String>,
    until: Duration,
}

/// A code that waits to be exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) patient: String,
    pub(crate) scope: String,
    /// PKCE, S256.
    pub(crate) challenge: Option<String>,
    until: Duration,
}

/// All that was granted.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    grants: BTreeMap<u64, Grant>,
    access: BTreeMap<String, Access>,
    codes: BTreeMap<String, Code>,
    /// `jti` of assertions, by client, until they have expired.
    used: BTreeMap<(String, String), i64>,
}

impl Grants {
    /// Opens a grant and gives out its first tokens.
    pub(crate) fn open(
        &mut self,
        client_id: &str,
        patient: Option<&str>,
        scope: &str,
        refreshable: bool,
        knobs: &SmartKnobs,
    ) -> Issued {
        let number = self.grants.len() as u64 + 1;
        let grant = Grant {
            client_id: client_id.to_owned(),
            patient: patient.map(str::to_owned),
            scope: knobs.scope.clone().unwrap_or_else(|| scope.to_owned()),
            current: refreshable.then(|| random("refresh-")),
            previous: BTreeSet::new(),
            is_over: false,
        };
        self.grants.insert(number, grant);
        self.issue(number, knobs)
    }

    fn issue(&mut self, number: u64, knobs: &SmartKnobs) -> Issued {
        let grant = &self.grants[&number];
        let access_token = random("access-");
        let access = Access {
            grant: number,
            pair: grant.current.clone(),
            until: now() + Duration::from_millis(knobs.token_lifetime_ms),
        };
        let issued = Issued {
            grant: number,
            access_token: access_token.clone(),
            refresh_token: grant.current.clone(),
            scope: knobs.scope.clone().unwrap_or_else(|| grant.scope.clone()),
            patient: grant.patient.clone(),
        };
        self.access.insert(access_token, access);
        issued
    }

    /// The grant that a refresh token belongs, or belonged, to.
    pub(crate) fn of_refresh(&self, token: &str) -> Option<u64> {
        let holds = |grant: &Grant| {
            grant.current.as_deref() == Some(token) || grant.previous.contains(token)
        };
        let found = self.grants.iter().find(|(_, grant)| holds(grant));
        found.map(|(number, _)| *number)
    }

    /// New tokens for a refresh token; none where it is not good.
    pub(crate) fn refresh(
        &mut self,
        client_id: &str,
        token: &str,
        knobs: &SmartKnobs,
    ) -> Option<Issued> {
        let number = self.of_refresh(token)?;
        let grant = self.grants.get_mut(&number)?;
        if grant.is_over || grant.client_id != client_id {
            return None;
        }
        let is_current = grant.current.as_deref() == Some(token);
        if !is_current && !knobs.keep_old_until_new_is_used {
            // Used twice: one of the two has stolen it.
            self.revoke(number);
            return None;
        }
        if is_current {
            // Using the new refresh token is using the new pair.
            grant.previous.clear();
        }
        if knobs.rotate {
            let unused = grant.current.replace(random("refresh-"));
            grant.previous.insert(token.to_owned());
            if !is_current {
                // The pair that nobody has used gives way to this one.
                self.access
                    .retain(|_, access| access.grant != number || access.pair != unused);
            }
        }
        Some(self.issue(number, knobs))
    }

    /// Whether an access token is good; the first use of a pair ends the one before.
    pub(crate) fn use_access(&mut self, token: &str) -> bool {
        let Some(access) = self.access.get(token) else {
            return false;
        };
        let Some(grant) = self.grants.get_mut(&access.grant) else {
            return false;
        };
        if grant.is_over || access.until <= now() {
            return false;
        }
        if access.pair == grant.current {
            grant.previous.clear();
        }
        true
    }

    pub(crate) fn revoke(&mut self, number: u64) {
        if let Some(grant) = self.grants.get_mut(&number) {
            grant.is_over = true;
        }
    }

    /// Ends the grant of a token, whatever token it is.
    pub(crate) fn revoke_by_token(&mut self, client_id: &str, token: &str) {
        let of_access = self.access.get(token).map(|access| access.grant);
        let number = self.of_refresh(token).or(of_access);
        if let Some(number) = number.filter(|number| self.grants[number].client_id == client_id) {
            self.revoke(number);
        }
    }

    pub(crate) fn forget_access_tokens(&mut self) {
        self.access.clear();
    }

    pub(crate) fn is_alive(&self, number: u64) -> bool {
        self.grants
            .get(&number)
            .is_some_and(|grant| !grant.is_over && grant.current.is_some())
    }

    pub(crate) fn count(&self) -> u64 {
        self.grants.len() as u64
    }

    pub(crate) fn over(&self) -> u64 {
        self.grants.values().filter(|grant| grant.is_over).count() as u64
    }

    pub(crate) fn is_current(&self, number: u64, token: &str) -> bool {
        let grant = self.grants.get(&number);
        grant.is_some_and(|grant| grant.current.as_deref() == Some(token))
    }

    /// A code for what a patient approves.
    pub(crate) fn code(
        &mut self,
        client_id: &str,
        redirect_uri: &str,
        patient: &str,
        scope: &str,
        challenge: Option<String>,
    ) -> String {
        let code = random("code-");
        let waits = Code {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            patient: patient.to_owned(),
            scope: scope.to_owned(),
            challenge,
            until: now() + CODE_LIFE,
        };
        self.codes.insert(code.clone(), waits);
        code
    }

    /// Takes a code: it is good once.
    pub(crate) fn take_code(&mut self, code: &str) -> Option<Code> {
        self.codes.remove(code).filter(|code| code.until > now())
    }

    /// Notes the `jti` of an assertion; false if it was used before.
    pub(crate) fn is_fresh(
        &mut self,
        client_id: &str,
        jti: &str,
        until_s: i64,
        now_s: i64,
    ) -> bool {
        self.used.retain(|_, until| *until >= now_s);
        let key = (client_id.to_owned(), jti.to_owned());
        self.used.insert(key, until_s).is_none()
    }
}

//! Refreshing a token, by whoever holds the lease: asking the token endpoint, and storing
//! what it gave, or why it gave nothing.
//!
//! A refresh runs on a task of its own: a step that is cancelled meanwhile does not
//! lose the refresh token that its answer brings.
//! Invariant: an outage says nothing about a grant. Only `invalid_grant`, or another
//! person's record, ends one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db::{NewToken, StoredToken, TOKEN_LIFE_DEFAULT, TokenLease};
use model::{Timestamp, content_hash};
use source::{Grant, Granted, NoToken, Secret, TokenError};

use super::{Inner, Owner, Want};
use crate::{failpoint, token_login};

/// Words of a row for why there are no tokens.
pub(super) const REFUSED: &str = "login_refused";
pub(super) const ADDRESS: &str = guard::ADDRESS_REFUSED;

impl Inner {
    /// Refreshes a version, or lets somebody else.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        stored: &StoredToken,
        want: Want,
    ) -> Result<(), NoToken> {
        let (inner, stored) = (Arc::clone(self), stored.clone());
        let task = tokio::spawn(async move { inner.refresh_alone(&stored, want).await });
        // It ends with the process, or by a bug.
        task.await.unwrap_or(Err(NoToken::Unavailable))
    }

    async fn refresh_alone(&self, stored: &StoredToken, want: Want) -> Result<(), NoToken> {
        let unavailable = |error: db::Error| {
            tracing::warn!(subject = self.subject, "a refresh is not noted: {error}");
            NoToken::Unavailable
        };
        let started = Instant::now();
        let lease = self
            .db
            .lease_token(&self.subject, stored.version, self.terms.lease)
            .await
            .map_err(unavailable)?;
        let Some(lease) = lease else { return Ok(()) };
        passed("token_request.before").await?;
        // What is left of the lease has to be enough, whatever has slept since.
        let margin = self.terms.lease.saturating_sub(self.terms.request) / 2;
        if started.elapsed() > margin {
            return Ok(());
        }
        let asked = tokio::time::timeout(self.terms.request, self.ask(stored)).await;
        let asked = asked.unwrap_or(Err(TokenError::Unavailable { retry_after: None }));
        passed("token_request.after").await?;
        let granted = match asked {
            Ok(granted) => granted,
            Err(error) => {
                let noted = self.failed(&lease, stored, &error).await;
                return noted.map_err(unavailable)?;
            }
        };
        if let (Owner::Patient(connection, patient), Some(other)) = (&self.owner, &granted.patient)
            && bare(patient) != bare(other)
        {
            let lost = self.db.grant_lost(&lease, *connection, "other_patient");
            return if lost.await.map_err(unavailable)? {
                Err(NoToken::Lost)
            } else {
                Ok(())
            };
        }
        self.store(&lease, &granted, want, started).await?;
        passed("token_stored").await
    }

    /// Stores what was granted, as long as nobody else may refresh: with a rotated
    /// token it would be lost, and with it the grant.
    async fn store(
        &self,
        lease: &TokenLease,
        granted: &Granted,
        want: Want,
        started: Instant,
    ) -> Result<(), NoToken> {
        // Its life began before its answer left.
        let life = granted.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT);
        let new = NewToken {
            access: Some(granted.access.expose().to_owned()),
            refresh: granted
                .refresh
                .as_ref()
                .map(|token| token.expose().to_owned()),
            scope: granted.scope.clone(),
            expires_in: Some(life.saturating_sub(started.elapsed())),
            after_refusal: matches!(want, Want::After(_)),
        };
        loop {
            match self.db.store_token(lease, &new).await {
                Ok(true) => {
                    tracing::info!(subject = self.subject, "a token was refreshed");
                    return Ok(());
                }
                Ok(false) => {
                    tracing::warn!(subject = self.subject, "a refresh came too late to count");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(subject = self.subject, "tokens are not stored yet: {error}");
                    if started.elapsed() > self.terms.lease {
                        return Err(NoToken::Unavailable);
                    }
                    tokio::time::sleep(self.terms.look).await;
                }
            }
        }
    }

    async fn ask(&self, stored: &StoredToken) -> Result<Granted, TokenError> {
        let login = token_login::login(&self.db, self.source).await?;
        let grant = match (&self.owner, &stored.refresh) {
            (Owner::Ourselves, _) => Grant::ClientCredentials,
            (Owner::Patient(..), Some(token)) => Grant::Refresh(Secret::new(token.clone())),
            // An access token alone, and it has ended.
            (Owner::Patient(..), None) => return Err(TokenError::InvalidGrant),
        };
        self.client.ask(&login, &grant).await
    }

    /// Notes why there are no tokens. `Ok(Ok(()))`: somebody else knows more.
    async fn failed(
        &self,
        lease: &TokenLease,
        stored: &StoredToken,
        error: &TokenError,
    ) -> db::Result<Result<(), NoToken>> {
        tracing::warn!(subject = self.subject, "no token was given: {error}");
        if let (TokenError::InvalidGrant, Owner::Patient(connection, _)) = (error, &self.owner) {
            let code = match stored.refresh {
                Some(_) => "invalid_grant",
                None => "token_expired",
            };
            let lost = self.db.grant_lost(lease, *connection, code).await?;
            return Ok(if lost { Err(NoToken::Lost) } else { Ok(()) });
        }
        let wait = self.wait_after(stored.failures, error);
        let now = Timestamp::now();
        self.db
            .token_failed(lease, code(error), now.after(wait))
            .await?;
        Ok(Err(match error {
            TokenError::AddressRefused(refused) => NoToken::AddressRefused(*refused),
            TokenError::Refused { .. } | TokenError::Config { .. } => NoToken::Refused,
            _ => NoToken::Later(wait),
        }))
    }

    /// How long to leave an endpoint alone: doubling, no two subjects at the same
    /// time, and as long as it says.
    fn wait_after(&self, failures: u64, error: &TokenError) -> Duration {
        let (first, max) = self.terms.back_off;
        let doubled = first.saturating_mul(1 << failures.min(16));
        let spread = u32::from(content_hash(self.subject.as_bytes()).0[0]);
        let wait = doubled.min(max);
        let wait = wait - wait * spread / 1024;
        match error {
            TokenError::Unavailable {
                retry_after: Some(said),
            } => wait.max(*said),
            _ => wait,
        }
    }
}

/// A patient's id; some write it as a reference.
fn bare(id: &Secret) -> &str {
    let id = id.expose();
    id.strip_prefix("Patient/").unwrap_or(id)
}

fn code(error: &TokenError) -> &'static str {
    match error {
        TokenError::InvalidGrant => "invalid_grant",
        TokenError::Refused { .. } | TokenError::Config { .. } => REFUSED,
        TokenError::AddressRefused(_) => ADDRESS,
        TokenError::Unavailable { .. } | TokenError::Protocol { .. } => "token_unavailable",
    }
}

/// A point at which tests end or fail a refresh.
async fn passed(name: &str) -> Result<(), NoToken> {
    failpoint::pass(name)
        .await
        .map_err(|_| NoToken::Unavailable)
}

//! What a row of tokens says is to be done: to use what it has, to refresh it, or to wait
//! for who does.

use std::time::Duration;

use db::StoredToken;
use model::Timestamp;
use source::NoToken;

use super::refresh::{ADDRESS, REFUSED};
use super::{Held, Inner, Owner, Want};

/// What the rows say is to be done.
pub(super) enum Next {
    /// To use this one.
    Use(Held),
    /// To refresh this version.
    Refresh(StoredToken),
    /// To look again: somebody else refreshes.
    Look(Duration),
    /// Nothing that would help.
    Keep,
}

/// Whether a token is one that is asked for.
pub(super) fn is_wanted(held: &Held, want: Want) -> bool {
    match want {
        Want::Good => true,
        Want::After(refused) => held.token.version != refused,
    }
}

impl Inner {
    pub(super) async fn stored(&self) -> Result<StoredToken, NoToken> {
        let unavailable = |error: db::Error| {
            tracing::warn!(subject = self.subject, "no token was looked up: {error}");
            NoToken::Unavailable
        };
        if let Some(stored) = self.db.token(&self.subject).await.map_err(unavailable)? {
            return Ok(stored);
        }
        match self.owner {
            // It was given up, or never had a grant.
            Owner::Patient(..) => Err(NoToken::Lost),
            Owner::Ourselves => {
                let made = self.db.ensure_token(&self.subject).await;
                made.map_err(unavailable)?;
                let stored = self.db.token(&self.subject).await.map_err(unavailable)?;
                stored.ok_or(NoToken::Unavailable)
            }
        }
    }

    pub(super) fn next(
        &self,
        stored: &StoredToken,
        want: Want,
        now: Timestamp,
    ) -> Result<Next, NoToken> {
        let good = Held::of(stored).filter(|held| is_wanted(held, want) && now < held.expires_at);
        let can_refresh = stored.refresh.is_some() || matches!(self.owner, Owner::Ourselves);
        if let Some(held) = &good
            && (now < stored.refresh_at || !can_refresh)
        {
            return Ok(Next::Use(held.clone()));
        }
        if !can_refresh && stored.access.is_none() {
            return Err(NoToken::Lost);
        }
        if matches!(want, Want::After(_)) && (!can_refresh || self.is_young(stored, now)) {
            return Ok(Next::Keep);
        }
        // With somebody at it, or an endpoint that is to be left alone, what is good
        // will do.
        let busy = stored.held_until.max(stored.not_before);
        if now <= busy {
            return match good {
                Some(held) => Ok(Next::Use(held)),
                None if now <= stored.not_before => Err(put_off(stored, now)),
                None => Ok(Next::Look(stored.held_until.since(now))),
            };
        }
        Ok(Next::Refresh(stored.clone()))
    }

    /// Whether a token was renewed for a refusal just now, which was refused too.
    fn is_young(&self, stored: &StoredToken, now: Timestamp) -> bool {
        let half = stored.expires_at.since(stored.obtained_at) / 2;
        stored.after_refusal && now.since(stored.obtained_at) < self.terms.young.min(half)
    }
}

/// Why an endpoint that is left alone gives no token.
fn put_off(stored: &StoredToken, now: Timestamp) -> NoToken {
    match stored.error_code.as_deref() {
        Some(REFUSED) => NoToken::Refused,
        Some(ADDRESS) => NoToken::AddressRefused(guard::Refused),
        _ => NoToken::Later(stored.not_before.since(now)),
    }
}
